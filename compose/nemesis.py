#!/usr/bin/env python3
"""Breaks the compose deployment at random, from a seed, and judges it from outside.

Parts that know nothing of each other: campaign.py generates and checks, faults.py breaks and heals containers through
the docker command, oracle.py watches from the client container. Touches only containers of the project named, and
heals them all at the end, also when interrupted. Needs Python 3.9 and docker; the project must be up (see README.md).

    python3 nemesis.py --project haac --seed 7 --faults 20

Prints a verdict as JSON. Exit status: 0 never two owners and one at the end; 1 otherwise; 2 it could not be run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from campaign import Checker, Shot, generate
from deployment import Deployment, NemesisError
from faults import heal_all, inject

VIP = "192.0.2.100"
SETTLE = 30.0  # s after healing until one node must have the address: a container and an agent start in it


@contextlib.contextmanager
def witness(cluster: Deployment, checker: Checker) -> Iterator[subprocess.Popen[str]]:
    """Run oracle.py in the client container and feed the checker."""
    text = Path(__file__).with_name("oracle.py").read_text()
    argv = ["docker", "exec", "-i", cluster.containers["client"], "python3", "-u", "-c", text, VIP, "eth0"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    output = process.stdout

    def read() -> None:
        for line in output:
            checker.take(json.loads(line))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(timeout=5)
        output.close()
        checker.finish(checker.last_round)


def wait_for_owner(checker: Checker, patience: float = SETTLE, steady: float = 1.0) -> str | None:
    """Wait until one node alone answers and serves; None when none does in time."""
    until, since, candidate = time.monotonic() + patience, time.monotonic(), None
    while time.monotonic() < until:
        owners = checker.owners
        one = next(iter(owners)) if len(owners) == 1 else None
        if one is None or one != candidate or checker.served_by != one:
            candidate, since = one, time.monotonic()
        elif time.monotonic() - since >= steady:
            return one
        time.sleep(0.05)
    return None


def fire(cluster: Deployment, shot: Shot, checker: Checker, owner: str) -> dict[str, Any]:
    """Inject, hold, heal, wait; return what it did."""
    other = next(node for node in cluster.nodes if node != owner)
    target = owner if shot.role == "owner" else other
    dual, lost, silent = checker.dual, len(checker.outages), len(checker.silences)
    healed, begun = threading.Event(), time.monotonic()
    try:
        inject(cluster, shot, target, healed)
        time.sleep(max(0.0, shot.hold - (time.monotonic() - begun)))
    finally:
        healed.set()
        heal_all(cluster)
    time.sleep(shot.rest)
    found = wait_for_owner(checker)
    outages, silences = checker.outages[lost:], checker.silences[silent:]
    return {
        **asdict(shot),
        "target": target if shot.role != "arbiter" else cluster.arbiter,
        "dual_ms": round((checker.dual - dual) * 1000),
        "longest_outage_ms": longest_ms(outages),
        "longest_silence_ms": longest_ms(silences),
        "outages_at_s": [round(since - begun, 3) for since, _ in outages],
        "owner_after": found,
    }


def longest_ms(spans: Sequence[tuple[float, float]]) -> int:
    """Return the longest of (begin, end), in s, as whole ms."""
    return round(max((end - begin for begin, end in spans), default=0.0) * 1000)


def run(cluster: Deployment, shots: Sequence[Shot]) -> tuple[Checker, list[dict[str, Any]]]:
    """Play all shots; stop at the first that leaves no single owner. Heals everything in any case."""
    checker, done = Checker(cluster.macs()), []
    with witness(cluster, checker) as process:
        try:
            owner = wait_for_owner(checker, patience=60)
            if owner is None:
                raise NemesisError(
                    f"no single node serves {VIP}; answering: {sorted(checker.owners) or 'nobody'}"
                )
            for shot in shots:
                done.append(fire(cluster, shot, checker, owner))
                print(json.dumps(done[-1]), file=sys.stderr, flush=True)
                owner = done[-1]["owner_after"]
                if owner is None or process.poll() is not None:
                    break
        finally:
            heal_all(cluster)
    return checker, done


def verdict(checker: Checker, done: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Return what is printed in the end."""
    lost = next((one["number"] for one in done if one["owner_after"] is None), None)
    return {
        "seed": seed,
        "faults": len(done),
        "dual_ms": round(checker.dual * 1000),
        "dual_at_s": [round(at, 3) for at in checker.dual_at[:20]],
        "no_owner_after_fault": lost,
        "outage_ms": round(checker.outage * 1000),
        "longest_outage_ms": longest_ms(checker.outages),
        "longest_silence_ms": longest_ms(checker.silences),
        "rounds": checker.rounds,
        "requests": checker.requests,
        "adverts": checker.adverts,
        "good": checker.dual == 0 and lost is None and checker.rounds > 0 and bool(done),
    }


def main() -> int:
    """Run a campaign by the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--project", default="haac", help="the compose project (default haac)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=20)
    arguments = parser.parse_args()
    try:
        cluster = Deployment(arguments.project)
        shots = generate(arguments.seed, arguments.faults, cluster.arbiter)
        checker, done = run(cluster, shots)
    except (NemesisError, subprocess.TimeoutExpired, FileNotFoundError) as error:
        print(f"nemesis: {error}", file=sys.stderr)
        return 2
    result = {"arbiter": cluster.arbiter, **verdict(checker, done, arguments.seed)}
    print(json.dumps(result, indent=1))
    return 0 if result["good"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
