"""A worker that resumes behind a gate left open: it goes on, or it closes that gate before it renews anything."""

from __future__ import annotations

from ipaddress import IPv4Address

from haagent.core.actions import (
    Action,
    Actions,
    CloseGate,
    ExtendGate,
    OpenGate,
    RemoveAddresses,
    SwapRegister,
)
from haagent.core.events import (
    DeadlineReached,
    LinkChanged,
    PrimaryAddressChanged,
    RegisterRead,
    RegisterSwapped,
    Startup,
)
from haagent.core.group import GroupParameters
from haagent.core.instance import InstanceParameters
from haagent.core.node import Node
from haagent.core.parameters import NodeParameters
from haagent.core.records import ClaimRecord, ClaimState, Holder, SessionRecord
from haagent.core.register import Record
from haagent.core.session import SessionParameters
from haagent.core.units import MILLISECOND, SECOND, Now
from haagent.core.virtual_router import RouterParameters

ME = Holder("a", "1f")
LEASE = SECOND


def resumed() -> Node:
    session = SessionParameters("a", "1f", "host", LEASE, LEASE // 4, 20 * MILLISECOND, resumed=True)
    router = RouterParameters(3, 51, 150, SECOND)
    instance = InstanceParameters("VI_1", router, ("eth0",))
    node = Node(
        NodeParameters(session, (instance,), (GroupParameters("VI_1", ("VI_1",)),), resume=(("VI_1", 7),))
    )
    node.handle(LinkChanged("eth0", True), Now(1, 1))
    node.handle(PrimaryAddressChanged("VI_1", IPv4Address("192.0.2.1")), Now(1, 1))
    return node


def play(node: Node, registers: dict[str, bytes]) -> list[Action]:
    """Answer every read and swap from ``registers`` for one lease; return all actions in order."""
    done: list[Action] = []
    now, version = SECOND, 10
    queue: list[Actions] = [node.handle(Startup(), Now(now, now))]
    for _ in range(200):
        while queue:
            for action in queue.pop(0):
                done.append(action)
                version += 1
                if isinstance(action, SwapRegister):
                    registers[action.name] = action.value
                    record = Record(action.value, str(version))
                    queue.append(node.handle(RegisterSwapped(action.name, record), Now(now, now)))
                elif type(action).__name__ == "ReadRegister":
                    name = getattr(action, "name")  # noqa: B009 - told apart by name to keep the imports few
                    value = registers.get(name)
                    read = RegisterRead(name, None if value is None else Record(value, str(version)))
                    queue.append(node.handle(read, Now(now, now)))
        deadline = node.next_deadline()
        if deadline is None or deadline > 3 * SECOND:
            break
        now = max(now + 1, deadline)
        queue.append(node.handle(DeadlineReached(), Now(now, now)))
    return done


def session_of(holder: Holder, ended_by: str | None = None) -> bytes:
    return SessionRecord(holder, 5, LEASE, LEASE // 4, "host", ended_by=ended_by).encode()


def claim_of(holder: Holder, epoch: int) -> bytes:
    return ClaimRecord(ClaimState.HELD, epoch, holder).encode()


def test_it_goes_on_where_the_arbiter_still_names_it():
    actions = play(resumed(), {"sessions/a": session_of(ME), "claims/VI_1": claim_of(ME, 7)})
    assert OpenGate("VI_1", 7) in actions
    assert CloseGate("VI_1") not in actions
    assert not any(isinstance(action, RemoveAddresses) for action in actions)


def test_ended_meanwhile_it_closes_what_it_inherited_before_it_renews():
    registers = {
        "sessions/a": session_of(ME, ended_by="b"),
        "sessions/b": SessionRecord(Holder("b", "2e"), 9, LEASE, LEASE // 4, "other").encode(),
        "claims/VI_1": claim_of(Holder("b", "2e"), 8),
    }
    actions = play(resumed(), registers)
    closed = actions.index(CloseGate("VI_1"))
    assert RemoveAddresses("VI_1") in actions
    renewals = [n for n, action in enumerate(actions) if isinstance(action, ExtendGate) and action.until]
    assert renewals
    assert closed < renewals[0]


def test_an_ended_incarnation_does_not_come_back_to_life():
    registers = {"sessions/a": session_of(Holder("a", "1f.3"), ended_by="b")}
    play(resumed(), registers)
    assert SessionRecord.decode(registers["sessions/a"]).holder == Holder("a", "1f.4")


def test_a_claim_that_went_to_another_run_is_let_go():
    registers = {"sessions/a": session_of(ME), "claims/VI_1": claim_of(Holder("b", "2e"), 8)}
    registers["sessions/b"] = SessionRecord(Holder("b", "2e"), 9, LEASE, LEASE // 4, "other").encode()
    actions = play(resumed(), registers)
    assert CloseGate("VI_1") in actions
    assert RemoveAddresses("VI_1") in actions
