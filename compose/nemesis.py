#!/usr/bin/env python3
"""Breaks the compose deployment at random, from a seed, and judges it from outside.

Three parts that know nothing of each other: campaign.py generates and checks, this file breaks and heals containers
through the docker command, oracle.py watches from the client container. Touches only containers of the project named, and
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from campaign import Checker, Shot, generate

VIP = "192.0.2.100"
NODES, ETCD = ("node1", "node2"), ("etcd1", "etcd2", "etcd3")
MGMT = {"node1": "198.51.100.21", "node2": "198.51.100.22"}
SETTLE = 30.0  # s after healing until one node must have the address: a container and an agent start in it


class NemesisError(Exception):
    """The campaign cannot be run: what was tried, and what docker answered."""


def docker(*words: str, stdin: str | None = None, check: bool = True) -> str:
    """Run one docker command and return its output."""
    done = subprocess.run(
        ["docker", *words], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode and check:
        raise NemesisError(f"docker {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Deployment:
    """The project's containers, by the names of their services."""

    def __init__(self, project: str) -> None:
        self.project = project
        form = '{{.Label "com.docker.compose.service"}} {{.Names}}'
        label = f"label=com.docker.compose.project={project}"
        lines = docker("ps", "-a", "--filter", label, "--format", form).split("\n")
        self.containers = dict(line.split(" ", 1) for line in lines if line)
        missing = [name for name in (*NODES, *ETCD, "client") if name not in self.containers]
        if missing:
            raise NemesisError(
                f"project {project!r} has no {', '.join(missing)}; bring it up first (README.md)"
            )

    def __call__(self, verb: str, *services: str, options: Sequence[str] = (), check: bool = True) -> str:
        """Run ``docker verb`` on services."""
        return docker(verb, *options, *(self.containers[one] for one in services), check=check)

    def inside(self, service: str, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Run a command in a service's container."""
        interactive = ("-i",) if stdin is not None else ()
        return docker("exec", *interactive, self.containers[service], *words, stdin=stdin, check=check)

    def signal_agent(self, node: str, name: str, *, check: bool = True) -> None:
        """Signal the agent's processes inside their own container."""
        pids = self.inside(node, "pgrep", "-f", "haagent run", check=check).split()
        self.inside(node, "kill", f"-{name}", *pids, check=False)

    def state(self, service: str) -> dict[str, Any]:
        """Return docker's word on one container."""
        state: dict[str, Any] = json.loads(
            docker("inspect", "-f", "{{json .State}}", self.containers[service])
        )
        return state

    def macs(self) -> dict[str, str]:
        """Return the nodes' names by their MAC addresses on the lan."""
        form = f'{{{{(index .NetworkSettings.Networks "{self.project}_lan").MacAddress}}}}'
        return {docker("inspect", "-f", form, self.containers[node]).strip(): node for node in NODES}


# -- faults: each name is what is done, and what undoes it ---------------------------------------------------------------


def ruleset(rules: Sequence[tuple[str, str, str]]) -> str:
    """Return an nft table that drops, inside a node: (device, way as the node sees it, match)."""
    hooks = {"out": "egress", "in": "ingress"}
    chains = "".join(
        f'chain c{number} {{ type filter hook {hooks[way]} device "{device}" priority -500; {match} drop; }}\n'
        for number, (device, way, match) in enumerate(rules)
    )
    return f"table netdev nemesis {{\n{chains}}}\n"


HEALED = "add table netdev nemesis\ndelete table netdev nemesis\n"
BOTH = ("out", "in")
VRRP_OUT, VRRP_IN = ("lan0", "out", "ip protocol 112"), ("lan0", "in", "ip protocol 112")
OTHER_MAC = {
    "node1": "02:42:c0:00:02:0c",
    "node2": "02:42:c0:00:02:0b",
}  # docker makes them from the addresses


def drops(fault: str, node: str, mgmt: str) -> list[tuple[str, str, str]]:
    """Return what a packet fault drops; ``mgmt`` is the node's interface there."""
    arbiter = [(mgmt, "out", "tcp dport 2379"), (mgmt, "in", "tcp sport 2379")]
    peers = [
        (device, way, f"udp {side} 5405")
        for device in ("lan0", mgmt)
        for way in BOTH
        for side in ("dport", "sport")
    ]
    lan = [
        ("lan0", "out", f"ether daddr {OTHER_MAC[node]}"),
        ("lan0", "in", f"ether saddr {OTHER_MAC[node]}"),
    ]
    return {
        "cut-vrrp": [VRRP_OUT, VRRP_IN],
        "mute": [VRRP_OUT],
        "deaf": [VRRP_IN],
        "cut-arbiter": arbiter,
        "cut-peers": peers,
        # from peers and arbiter; clients still reach it
        "partition": [VRRP_OUT, VRRP_IN, *lan, *((mgmt, way, "meta length > 0") for way in BOTH)],
    }[fault]


PACKETS = frozenset({"cut-vrrp", "mute", "deaf", "cut-arbiter", "cut-peers", "partition"})


def mgmt_device(cluster: Deployment, node: str) -> str:
    """Return the name of a node's interface on mgmt; compose gives no stable one."""
    for line in cluster.inside(node, "ip", "-o", "-4", "addr", "show").splitlines():
        if MGMT[node] in line:
            return line.split()[1]
    raise NemesisError(f"{node} has no {MGMT[node]}")


def inject(cluster: Deployment, shot: Shot, target: str, healed: threading.Event) -> None:
    """Break it. Returns at once, but for the loop that kills leaders until ``healed``."""
    fault = shot.fault
    if fault in PACKETS:
        rules = ruleset(drops(fault, target, mgmt_device(cluster, target)))
        cluster.inside(target, "nft", "-f", "-", stdin=rules)
        return
    actions: dict[str, Callable[[], object]] = {
        "pause": lambda: cluster("pause", target),
        "sigstop": lambda: cluster.signal_agent(target, "STOP"),
        "kill-agent": lambda: cluster.signal_agent(target, "KILL"),
        "kill-container": lambda: cluster("kill", target),
        "stop": lambda: cluster("stop", target),
        "restart": lambda: cluster("restart", target),
        "disconnect-mgmt": lambda: docker(
            "network", "disconnect", f"{cluster.project}_mgmt", cluster.containers[target]
        ),
        "stop-haproxy": lambda: cluster("stop", haproxy(target), options=("-t", "1")),
        "pause-etcd-1": lambda: cluster("pause", ETCD[0]),
        "pause-etcd-all": lambda: cluster("pause", *ETCD),
        "stop-etcd-2": lambda: cluster("kill", *ETCD[:2]),
        "kill-etcd-leaders": lambda: kill_leaders(cluster, shot.hold, healed),
        "wipe-etcd": lambda: cluster.inside(ETCD[0], "etcdctl", "del", "", "--prefix"),
    }
    actions[fault]()


def haproxy(node: str) -> str:
    """Return the service that lives in a node's network namespace."""
    return node.replace("node", "haproxy")


def kill_leaders(cluster: Deployment, seconds: float, healed: threading.Event) -> None:
    """Kill whoever leads and start it again, until the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not healed.wait(0.5):
        leader = next((one for one in ETCD if leads(cluster, one)), None)
        if leader is not None:
            cluster("kill", leader)
            cluster("start", leader)


def leads(cluster: Deployment, member: str) -> bool:
    """Ask one etcd member whether it is the leader."""
    words = ("etcdctl", "endpoint", "status", "--command-timeout=1s")
    fields = cluster.inside(member, "env", "ETCDCTL_API=3", *words, check=False).split(", ")
    return len(fields) > 4 and fields[4] == "true"


def heal_all(cluster: Deployment) -> None:
    """Undo every fault there is, whatever was injected; what is well is left alone."""
    services = (*ETCD, *NODES)
    for service in services:
        state = cluster.state(service)
        if state["Paused"]:
            cluster("unpause", service)
        if not state["Running"] and not state["Restarting"]:
            cluster("start", service)
    for node in NODES:
        wait_running(cluster, node)
        cluster.inside(node, "nft", "-f", "-", stdin=HEALED, check=False)
        cluster.signal_agent(node, "CONT", check=False)
        connect_mgmt(cluster, node)
        follow(cluster, node)


def wait_running(cluster: Deployment, node: str, patience: float = 20.0) -> None:
    """Wait until docker's restart policy has brought a container back."""
    until = time.monotonic() + patience
    while not cluster.state(node)["Running"]:
        if time.monotonic() > until:
            raise NemesisError(f"{node} does not run {patience:g} s after it was started")
        time.sleep(0.1)


def connect_mgmt(cluster: Deployment, node: str) -> None:
    """Connect a node to mgmt unless it is."""
    container = cluster.containers[node]
    networks = json.loads(docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", container))
    if f"{cluster.project}_mgmt" not in networks:
        docker("network", "connect", "--ip", MGMT[node], f"{cluster.project}_mgmt", container)


def follow(cluster: Deployment, node: str) -> None:
    """Restart a node's HAProxy if it is down, or older than the node: then it lives in a namespace that is gone."""
    own, its = cluster.state(node), cluster.state(haproxy(node))
    if not its["Running"] or its["StartedAt"] < own["StartedAt"]:
        cluster("restart", haproxy(node), options=("-t", "1"))


# -- the campaign ------------------------------------------------------------------------------------------------------


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
    other = next(node for node in NODES if node != owner)
    target = {"owner": owner, "other": other, "etcd": "etcd"}[shot.role]
    dual, lost = checker.dual, len(checker.outages)
    healed = threading.Event()
    try:
        inject(cluster, shot, target, healed)
        if shot.fault != "kill-etcd-leaders":
            time.sleep(shot.hold)
    finally:
        healed.set()
        heal_all(cluster)
    time.sleep(shot.rest)
    found = wait_for_owner(checker)
    outages = [end - begin for begin, end in checker.outages[lost:]]
    return {
        **asdict(shot),
        "target": target,
        "dual_ms": round((checker.dual - dual) * 1000),
        "longest_outage_ms": round(max(outages, default=0.0) * 1000),
        "owner_after": found,
    }


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
        "longest_outage_ms": round(max((e - b for b, e in checker.outages), default=0.0) * 1000),
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
        checker, done = run(cluster, generate(arguments.seed, arguments.faults))
    except (NemesisError, subprocess.TimeoutExpired, FileNotFoundError) as error:
        print(f"nemesis: {error}", file=sys.stderr)
        return 2
    result = verdict(checker, done, arguments.seed)
    print(json.dumps(result, indent=1))
    return 0 if result["good"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
