"""The HTTP endpoints and agent-checks of real agents: true when the worker is frozen, dead or started again.

The published active/passive pair, and the published balancer in front of it, on the client's host.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from haagent.control.client import RefusedError, request
from haagent.core.units import SECOND
from haagent.lab.namespaces import inside
from haagent.lab.processes import NodeProcess
from haagent.lab.topology import VIP4
from tests.bench.haproxy_pair import EXAMPLES, Member, Pair, eventually, missing, pair

pytestmark = [
    pytest.mark.netns,
    pytest.mark.etcd,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
]

QUICK = {
    "advert_int 1": "advert_int 0.5",
    "    interval 1\n": "    interval 0.25\n",
    "inter 1s": "inter 250ms",
}
ADDRESS = {"web-a": "192.0.2.11", "web-b": "192.0.2.12"}


@pytest.fixture(scope="module")
def built() -> Iterator[Pair]:
    with pair("active-passive", "hha", QUICK) as made:
        yield made


@pytest.fixture
def both(built: Pair) -> Iterator[Pair]:
    begun = time.monotonic_ns()
    built.wait_owner("web-a", patience=20)
    eventually(lambda: code(built, "web-a", "/primary") == 200, 15, "a primary")
    eventually(lambda: code(built, "web-b", "/backup") == 200, 15, "a backup")
    yield built
    assert built.dual(begun) == 0


def code(both: Pair, name: str, target: str, timeout: float = 3) -> int:
    """Return the status code a client gets, 0 for no answer."""
    argv = [
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-m",
        str(timeout),
        f"http://{ADDRESS[name]}:8405{target}",
    ]
    full = ["ip", "netns", "exec", both.topology.client.namespace, *argv]
    done = subprocess.run(full, capture_output=True, text=True, timeout=timeout + 5, check=False)
    return int(done.stdout or 0)


def body(both: Pair, name: str, target: str) -> str:
    return both.get(f"http://{ADDRESS[name]}:8405{target}")


def agent_says(both: Pair, name: str) -> str:
    with (
        inside(both.topology.client.namespace),
        socket.create_connection((ADDRESS[name], 8406), 3) as channel,
    ):
        return channel.makefile().read()


def command_line(pid: int) -> bytes:
    """Return it, empty for a process that is gone: what a killed front leaves is the supervisor's for a moment."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def children(member: Member) -> dict[str, int]:
    """Return the worker and the front, the supervisor's child that listens; nothing while there is no worker."""
    assert member.agent is not None
    supervisor = member.agent.pid
    pids = [int(p) for p in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()]
    listening = subprocess.run(
        ["ip", "netns", "exec", member.node.namespace, "ss", "-Hltnp", "sport = :8405"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    fronts = [pid for pid in pids if f"pid={pid}," in listening]
    assert len(fronts) == 1, (pids, listening)
    agents = [pid for pid in pids if b"haagent" in command_line(pid)]
    workers = [pid for pid in agents if pid not in fronts]
    return {"front": fronts[0], "worker": workers[0]} if workers else {}


def test_master_and_backup_answer_what_they_are(both: Pair) -> None:
    assert code(both, "web-b", "/primary") == 503
    assert [code(both, "web-a", target) for target in ("/primary/web", "/backup", "/liveness", "/health", "/status", "/")] == [
        200, 503, 200, 200, 200, 200,
    ]  # fmt: skip
    eventually(lambda: code(both, "web-b", "/readiness") == 200, what="readiness")
    assert agent_says(both, "web-a") == "ready up 100%\n"
    assert agent_says(both, "web-b") == "drain up\n"
    metrics = {
        (one.name, one.labels.get("vrrp_instance", "")): one.value
        for family in text_string_to_metric_families(body(both, "web-a", "/metrics") + "\n")
        for one in family.samples
        if one.name in ("haagent_instance_master", "haagent_instance_epoch")
    }
    assert metrics["haagent_instance_master", "web"] == 1
    assert metrics["haagent_instance_epoch", "web"] >= 1
    assert "haproxy haproxy" in body(both, "web-a", "/")


def test_a_frozen_worker_is_no_primary_once_its_gate_is_closed_and_the_front_says_so(both: Pair) -> None:
    member = both.members["web-a"]
    worker = children(member)["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        begun = time.monotonic_ns()
        eventually(lambda: code(both, "web-a", "/primary") == 503, 20, "503")
        took = time.monotonic_ns() - begun
        assert "MASTER, gate closed" in body(both, "web-a", "/")  # its last word was MASTER
        assert agent_says(both, "web-a").startswith("down #")
        both.wait_owner("web-b")
        eventually(lambda: code(both, "web-b", "/primary") == 200, what="the next primary")
        assert took < 3 * SECOND
        eventually(lambda: code(both, "web-a", "/liveness") == 503, 10, "a silent agent")
        assert "does not answer" in body(both, "web-a", "/")
    finally:
        os.kill(worker, signal.SIGCONT)


def test_never_two_primaries_while_the_address_moves(both: Pair) -> None:
    """Ask both as fast as they answer, across a switchover and back: each answer is true for its own moment."""
    moved = subprocess.Popen(
        ["ip", "netns", "exec", both.members["web-a"].node.namespace, os.sys.executable, "-m", "haagent", "switchover", "web",
         "--socket", str(both.members["web-a"].directory / "web-a.sock")],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    seen, earliest, latest = [], time.monotonic() + 3, time.monotonic() + 20
    while time.monotonic() < (earliest if {200, 503} <= {second for _, _, second, _ in seen} else latest):
        begun = time.monotonic_ns()
        first = code(both, "web-a", "/primary")
        second = code(both, "web-b", "/primary")
        third = code(both, "web-a", "/primary")
        seen.append((begun, first, second, third))
    moved.wait(timeout=20)
    assert not any(first == second == third == 200 for _, first, second, third in seen), seen
    assert {200, 503} <= {second for _, _, second, _ in seen}, seen


def test_a_worker_that_is_killed_costs_no_answer_and_a_front_that_is_killed_comes_back(both: Pair) -> None:
    member = both.members["web-a"]
    before = children(member)
    os.kill(before["worker"], signal.SIGKILL)
    assert code(both, "web-a", "/status") in (200, 503)
    eventually(lambda: code(both, "web-a", "/primary") == 200, 20, "a primary again")
    after = eventually(lambda: children(member), what="a worker")
    assert after["front"] == before["front"]
    assert after["worker"] != before["worker"]
    os.kill(after["front"], signal.SIGKILL)
    eventually(lambda: code(both, "web-a", "/primary") == 200, 20, "another front")
    assert children(member)["worker"] == after["worker"]
    assert both.owner() == "web-a"


def ask_to_reload(member: Member) -> None:
    """Reload as the control socket's clients do."""
    with contextlib.suppress(RefusedError):  # a broken file is refused
        request(str(member.directory / f"{member.name}.sock"), "reload", timeout=10)


@pytest.mark.parametrize("reload", [Member.hup, ask_to_reload])
def test_a_reload_moves_the_endpoints_and_a_broken_file_does_not(
    both: Pair, reload: Callable[[Member], None]
) -> None:
    member = both.members["web-a"]
    file = member.directory / "keepalived.conf"
    usual = file.read_text()
    try:
        file.write_text(usual + "vrrp_instance {\n")
        reload(member)
        time.sleep(0.7)
        assert code(both, "web-a", "/primary") == 200
        file.write_text(usual.replace("192.0.2.11:8405", "192.0.2.11:8409"))
        reload(member)
        moved = f"http://{ADDRESS['web-a']}:8409/primary"
        eventually(lambda: '"MASTER"' in both.get(moved), what="the new port")
        assert code(both, "web-a", "/primary") == 0
        file.write_text("\n".join(line for line in usual.splitlines() if ":840" not in line) + "\n")
        reload(member)
        eventually(lambda: not both.get(moved), what="nothing to listen on")
    finally:
        file.write_text(usual)
        reload(member)
    eventually(lambda: code(both, "web-a", "/primary") == 200, what="the old port")


def test_the_published_balancer_in_front_follows_the_primary(both: Pair) -> None:
    client, directory = both.topology.client.namespace, both.topology.workdir
    text = (EXAMPLES / "front" / "haproxy.cfg").read_text()
    text = text.replace("bind 198.51.100.80:80", "bind 127.0.0.1:8090").replace("maxconn 20000", "maxconn 64")
    configuration = directory / "front.cfg"
    configuration.write_text(text)
    front = NodeProcess(client, ("haproxy", "-db", "-f", str(configuration)), directory / "front.log")

    def served_by() -> str:
        """Return which node's HAProxy answers through the balancer: the epochs differ."""
        return both.get("http://127.0.0.1:8090/")

    try:
        first = eventually(lambda: served_by().split(), 10, "an answer through the balancer")
        worker = children(both.members["web-a"])["worker"]
        os.kill(worker, signal.SIGSTOP)
        try:
            both.wait_owner("web-b")
            eventually(
                lambda: int((served_by().split() or ["", "0"])[1]) > int(first[1]),
                10,
                "the other node behind the balancer",
            )
        finally:
            os.kill(worker, signal.SIGCONT)
        assert front.alive
    finally:
        front.kill()


def test_a_flood_costs_the_front_and_not_the_address(both: Pair) -> None:
    """A hundred idle clients and 300 requests, half of them noise; the MASTER renews as if nothing happened."""
    begun = time.monotonic_ns()
    with inside(both.topology.client.namespace):
        idle = [socket.create_connection((ADDRESS["web-a"], 8405), 3) for _ in range(100)]
        for number in range(300):
            with socket.create_connection((ADDRESS["web-a"], 8405), 3) as channel:
                channel.sendall(b"GET /primary HTTP/1.0\r\n\r\n" if number % 2 else b"\xff" * 20_000)
    assert code(both, "web-a", "/primary") == 200
    for one in idle:
        one.close()
    assert both.answered_by(VIP4, begun) == {"web-a"}
