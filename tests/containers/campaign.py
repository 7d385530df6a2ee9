"""One campaign of compose/nemesis.py per profile of compose.yaml, and the table of what was seen.

Judges nothing itself: nemesis.py's verdict is the row.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haagent.lab.namespaces import LabError
from tests.containers.engine import Engine, call, compose_command

PROFILES = tuple(
    arbiter + nodes for nodes in ("", ",three") for arbiter in ("etcd", "zookeeper", "files", "quorum")
)
UP, DOWN, HEAL = 180, 180, 90  # s
HEAD = "| arbiter, nodes | seed, faults | two owners | rounds, requests | outages in all, longest | longest silence | took |"


@dataclass(frozen=True)
class Row:
    """What one campaign came to. ``verdict`` is nemesis.py's, empty if there is none; ``took`` in s."""

    profile: str
    verdict: dict[str, Any]
    took: float

    @property
    def good(self) -> bool:
        """Return whether there were never two owners, and one after every fault."""
        return bool(self.verdict.get("good"))

    def __str__(self) -> str:
        arbiter, _, three = self.profile.partition(",")
        name, took = f"{arbiter}, {3 if three else 2}", f"{self.took:.0f} s"
        if not (v := self.verdict):
            return f"| {name} | could not be run | | | | | {took} |"
        lost = v["no_owner_after_fault"]
        longest = f"{v['longest_outage_ms'] / 1000:.2f} s" if lost is None else f"nobody after fault {lost}"
        return (
            f"| {name} | {v['seed']}, {v['faults']} | {v['dual_ms']} ms | {v['rounds']:,}, {v['requests']:,} "
            f"| {v['outage_ms'] / 1000:.1f} s, {longest} | {v['longest_silence_ms'] / 1000:.2f} s | {took} |"
        )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as they go into docs/track-record.md."""
    return "\n".join((HEAD, "|---" * (HEAD.count("|") - 1) + "|", *map(str, rows)))


def needs_zookeeper(profiles: Sequence[str]) -> bool:
    """Return whether a profile brings up ZooKeeper's image."""
    return any(profile.partition(",")[0] in {"zookeeper", "quorum"} for profile in profiles)


@contextmanager
def deployment(engine: Engine, compose: Path, project: str, profile: str = "etcd") -> Iterator[list[str]]:
    """Bring a profile up, and down with its volumes; yield the words that begin a compose command on it."""
    words = [*compose_command(), "-p", project, "-f", str(compose / "compose.yaml")]
    environment = {**engine.environment, "COMPOSE_PROFILES": profile}
    try:
        call((*words, "up", "-d", "--no-build"), UP, environment)
        yield words
    finally:
        call((*words, "down", "-v", "-t", "2", "--remove-orphans"), DOWN, environment)


def run_to_end(
    argv: Sequence[str | Path], environment: dict[str, str], output: int | None = None
) -> tuple[int, str]:
    """Run a program that heals what it breaks: interrupted, it is told so and waited for. Return status and output."""
    process = subprocess.Popen(argv, env=environment, stdout=output, text=True, start_new_session=True)
    try:
        said, _ = process.communicate()
    except BaseException:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=HEAL)
        process.kill()
        process.wait()
        raise
    return process.returncode, said or ""


def play(engine: Engine, compose: Path, profile: str, seed: int, faults: int, out: Path) -> Row:
    """Play one campaign; keep the containers' logs below ``out`` if it was not good."""
    began = time.monotonic()
    print(f"{profile}: {faults} faults, seed {seed}", flush=True)
    nemesis = (sys.executable, compose / "nemesis.py", "--project", "haacampaign")
    verdict: dict[str, Any] = {}
    try:
        with deployment(engine, compose, "haacampaign", profile) as words:
            argv = (*nemesis, "--seed", str(seed), "--faults", str(faults))
            _, said = run_to_end(argv, engine.environment, subprocess.PIPE)
            verdict = json.loads(said) if said else {}
            if not verdict.get("good"):
                logs = call((*words, "logs", "--no-color"), DOWN, engine.environment)
                keep(out / profile.replace(",", "-"), said, logs)
    except LabError as error:
        print(f"{profile}: {error}", flush=True)
        verdict = {**verdict, "good": False} if verdict else {}
    return Row(profile, verdict, time.monotonic() - began)


def keep(directory: Path, verdict: str, logs: str) -> None:
    """Write what explains a campaign that failed."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "verdict.json").write_text(verdict)
    (directory / "containers.log").write_text(logs)
    print(f"the containers' logs are in {directory}", flush=True)
