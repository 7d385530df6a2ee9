"""haagent without an arbiter and stock keepalived in one virtual router, over every wire format both speak.

Judged by the adverts on the wire and by what both say of themselves. Intervals are short where the format allows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from agent_lab import Agent, Lab, eventually, lab, ms

from haagent.core.units import MILLISECOND, SECOND, Duration, Instant, to_seconds
from haagent.lab import faults
from haagent.lab.daemons import DaemonKind, Keepalived
from haagent.lab.namespaces import run

pytestmark = [pytest.mark.netns, pytest.mark.keepalived]

BETTER, WORSE = 150, 100
# What is due after a skew (183 ms or more) or three intervals (300 ms or more each) must come neither without the one
# nor after one more of the other. In between a busy machine may be late; it may be early by what the observer was late.
EARLY, LATE = 120 * MILLISECOND, 250 * MILLISECOND


@dataclass(frozen=True)
class Wire:
    """How adverts look and travel."""

    version: int
    interval: Duration = 300 * MILLISECOND
    family: int = 4
    unicast: bool = False
    password: str = ""

    def skew(self, priority: int) -> Duration:
        """RFC 3768 6.1 and RFC 9568 6.1."""
        return (256 - priority) * (SECOND if self.version == 2 else self.interval) // 256

    def down(self, priority: int) -> Duration:
        return 3 * self.interval + self.skew(priority)


WIRES = {
    "v3-ipv4": Wire(3),
    "v3-ipv6": Wire(3, family=6),
    "v3-unicast": Wire(3, unicast=True),
    "v3-unicast-ipv6": Wire(3, unicast=True, family=6),
    "v2": Wire(2, SECOND),
    "v2-pass": Wire(2, SECOND, password="s3cret"),
    "v2-unicast": Wire(2, SECOND, unicast=True),
}
SIDES: tuple[tuple[DaemonKind, DaemonKind], ...] = (("haagent", "keepalived"), ("keepalived", "haagent"))
ONCE = {
    "v2": SIDES[0],
    "v2-unicast": SIDES[1],
    "v3-unicast-ipv6": SIDES[0],
}  # variations of what is tried both ways
CASES = [(name, kinds) for name in WIRES for kinds in SIDES if ONCE.get(name, kinds) == kinds]


def configuration(built: Lab, name: str, wire: Wire, priority: int, *extra: str) -> str:
    own = built.topology.node(name)
    (peer,) = [node for node in built.topology.nodes if node.name != name]
    vips = ["fe80::100/64", "2001:db8::100/64"] if wire.family == 6 else ["192.0.2.100/24"]
    source, other = (own.lan6, peer.lan6) if wire.family == 6 else (own.lan4, peer.lan4)
    lines = ["state BACKUP", "interface lan", "virtual_router_id 51", f"priority {priority}"]
    lines += [f"advert_int {to_seconds(wire.interval):g}", *extra]
    if wire.unicast:
        lines += [f"unicast_src_ip {source}", "unicast_peer {", f"    {other}", "}"]
    if wire.password:
        lines += ["authentication {", "    auth_type PASS", f"    auth_pass {wire.password}", "}"]
    lines += ["virtual_ipaddress {", *(f"    {vip} dev lan" for vip in vips), "}"]
    body = "".join(f"    {line}\n" for line in lines)
    head = (
        f"global_defs {{\n    router_id {name}\n    vrrp_version {wire.version}\n    script_user root\n}}\n"
    )
    return f"{head}vrrp_instance VI_1 {{\n{body}}}\n"


def start(
    built: Lab, kind: DaemonKind, name: str, wire: Wire, priority: int, *extra: str
) -> Agent | Keepalived:
    text = configuration(built, name, wire, priority, *extra)
    return built.agent(name, text, "arbiter none\n") if kind == "haagent" else built.keepalived(name, text)


def states(daemon: Agent | Keepalived) -> list[str]:
    """Return what it logged of its states, in keepalived's words."""
    return re.findall(r"Entering (\w+) STATE", daemon.log.read_text(errors="replace"))


def is_in(daemon: Agent | Keepalived, state: str) -> bool:
    return states(daemon)[-1:] == [state]


def first_advert(built: Lab, name: str, since: Instant) -> Instant:
    return eventually(lambda: built.adverts(name, since), what=f"an advert of {name}")[0][0]


def sweep(built: Lab) -> None:
    """Remove what a killed keepalived leaves on its interface."""
    for node in built.topology.nodes:
        for address in ("192.0.2.100/24", "fe80::100/64", "2001:db8::100/64"):
            if built.has_address(node.name, address):
                run("ip", "-n", node.namespace, "addr", "del", address, "dev", "lan")


def elected(built: Lab, better: Agent | Keepalived, worse: Agent | Keepalived) -> None:
    """Wait until both are where their priorities put them."""
    until = time.monotonic() + 20
    while not (is_in(better, "MASTER") and is_in(worse, "BACKUP")):
        assert time.monotonic() < until, f"{states(better)} and {states(worse)}\n{built.logs()}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def network() -> Iterator[Lab]:
    with lab(arbiters=0) as made:
        # a switch that learns nothing shows unicast adverts to the observer, too
        run("ip", "-n", made.topology.switch, "link", "set", "lan", "type", "bridge", "ageing_time", "0")
        yield made


@pytest.fixture
def built(network: Lab) -> Iterator[Lab]:
    yield network
    network.stop_all()
    sweep(network)


@pytest.mark.parametrize(("name", "kinds"), CASES, ids=[f"{name}-{':'.join(kinds)}" for name, kinds in CASES])
def test_elects_and_hands_over(built: Lab, name: str, kinds: tuple[DaemonKind, DaemonKind]):
    """The better one is MASTER, the other hears it and stays BACKUP; priority 0 moves the address after the skew."""
    wire = WIRES[name]
    better, worse = (
        start(built, kinds[0], "node1", wire, BETTER),
        start(built, kinds[1], "node2", wire, WORSE),
    )
    elected(built, better, worse)
    time.sleep(0.1)  # the loser may still be saying its last advertisement
    settled = time.monotonic_ns()
    time.sleep(2.2 * to_seconds(wire.interval))
    assert not built.adverts("node2", settled)
    assert {priority for _, priority in built.adverts("node1", settled)} == {BETTER}

    stopping = time.monotonic_ns()
    better.stop()
    taken = first_advert(built, "node2", stopping)
    (resigned,) = [at for at, priority in built.adverts("node1", stopping) if priority == 0]
    print(f"{name} {kinds}: priority 0 to takeover {ms(taken - resigned)}, skew {ms(wire.skew(WORSE))}")
    assert -EARLY < taken - resigned - wire.skew(WORSE) < LATE


@pytest.mark.parametrize(
    ("name", "kinds"), [("v3-ipv4", SIDES[0]), ("v3-ipv4", SIDES[1]), ("v2-pass", SIDES[0])], ids=str
)
def test_the_better_one_preempts(built: Lab, name: str, kinds: tuple[DaemonKind, DaemonKind]):
    wire = WIRES[name]
    worse = start(built, kinds[1], "node2", wire, WORSE)
    eventually(lambda: is_in(worse, "MASTER"), what="being alone")
    better = start(built, kinds[0], "node1", wire, BETTER)
    elected(built, better, worse)
    settled = time.monotonic_ns()
    time.sleep(2.2 * to_seconds(wire.interval))
    assert not built.adverts("node2", settled)
    assert states(worse) == ["BACKUP", "MASTER", "BACKUP"]


@pytest.mark.parametrize("kinds", SIDES, ids=":".join)
def test_takes_over_when_the_other_is_killed(built: Lab, kinds: tuple[DaemonKind, DaemonKind]):
    wire = WIRES["v3-ipv4"]
    better, worse = (
        start(built, kinds[0], "node1", wire, BETTER),
        start(built, kinds[1], "node2", wire, WORSE),
    )
    elected(built, better, worse)
    time.sleep(to_seconds(wire.interval))
    assert better.process is not None
    better.process.kill()
    last = built.adverts("node1", 0)[-1][0]
    taken = first_advert(built, "node2", last)
    print(
        f"killed {kinds[0]}: {kinds[1]} took over {ms(taken - last)} after the last advert, {ms(wire.down(WORSE))} due"
    )
    assert -EARLY < taken - last - wire.down(WORSE) < LATE


@pytest.mark.parametrize("kinds", SIDES, ids=":".join)
def test_the_better_one_does_not_preempt_when_told_not_to(built: Lab, kinds: tuple[DaemonKind, DaemonKind]):
    wire = WIRES["v3-ipv4"]
    worse = start(built, kinds[1], "node2", wire, WORSE, "nopreempt")
    eventually(lambda: is_in(worse, "MASTER"), what="being alone")
    better = start(built, kinds[0], "node1", wire, BETTER, "nopreempt")
    eventually(lambda: is_in(better, "BACKUP"), what="starting")
    time.sleep(2 * to_seconds(wire.down(WORSE)))
    assert is_in(worse, "MASTER")
    assert is_in(better, "BACKUP")


@pytest.mark.parametrize("kinds", SIDES, ids=":".join)
def test_after_a_split_of_equals_the_lower_address_yields(built: Lab, kinds: tuple[DaemonKind, DaemonKind]):
    wire = WIRES["v3-ipv4"]
    lower, higher = start(built, kinds[0], "node1", wire, WORSE), start(built, kinds[1], "node2", wire, WORSE)
    eventually(
        lambda: {*states(lower)[-1:], *states(higher)[-1:]} == {"MASTER", "BACKUP"}, what="the election"
    )
    fault = faults.cut_vrrp(built.topology, built.topology.node("node1"))
    fault.inject()
    try:
        eventually(
            lambda: is_in(lower, "MASTER") and is_in(higher, "MASTER"), what="two MASTERs in the split"
        )
    finally:
        fault.heal()
    healed = time.monotonic_ns()
    eventually(lambda: is_in(lower, "BACKUP"), what="yielding")
    took = time.monotonic_ns() - healed
    print(f"split of equals healed: {kinds[0]} with the lower address yields after {ms(took)}")
    assert took < 2 * wire.interval + LATE
    time.sleep(to_seconds(wire.down(WORSE)))
    assert is_in(lower, "BACKUP")
    assert is_in(higher, "MASTER")


def test_different_passwords_are_said_by_both(built: Lab):
    """What keepalived says once a second, haagent says once."""
    wire = Wire(2, SECOND, password="s3cret")
    agent = start(built, "haagent", "node1", wire, BETTER)
    start(built, "keepalived", "node2", Wire(2, SECOND, password="other"), WORSE)
    assert isinstance(agent, Agent)
    eventually(lambda: "packet discarded" in agent.text(), what="saying why")
    assert str(built.topology.node("node2").lan4) in agent.text()
    time.sleep(2.2)
    assert agent.text().count("packet discarded") == 1
