"""What needs no kernel: the guards' checks, the assembler's labels, the recording gate, version numbers."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from haagent.effects.gate import ClaimGate, Guard, GuardedRouter, Tier
from haagent.effects.gate.bpf_asm import R0, R1, Assembler, Test
from haagent.effects.gate.lifetime_gate import RecordingGate
from haagent.effects.gate.model import check_guards
from haagent.effects.gate.opening import kernel_version
from haagent.errors import EffectError

GROUP4, GROUP6 = ip_address("224.0.0.18"), ip_address("ff02::12")


def router(vrid: int = 1, family: int = 4, interface: str = "eth0", *addresses: str) -> GuardedRouter:
    group = GROUP4 if family == 4 else GROUP6
    return GuardedRouter(vrid, family, interface, (group,), tuple(map(ip_address, addresses)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("guards", "message"),
    [
        ([Guard("a", ()), Guard("a", ())], "one claim name twice"),
        ([Guard("", ())], "accepted are 1 to 200 bytes"),
        ([Guard("x" * 201, ())], "accepted are 1 to 200 bytes"),
        ([Guard("a", (router(0),))], "VRID 0, accepted are 1 to 255"),
        ([Guard("a", (GuardedRouter(1, 4, "eth0", (), ()),))], "no destination"),
        ([Guard("a", (GuardedRouter(1, 4, "eth0", (GROUP6,), ()),))], "is IPv4, its destination is ff02::12"),
        ([Guard("a", (router(1),)), Guard("b", (router(1),))], "both guard VRID 1"),
        (
            [
                Guard("a", (router(1, 4, "eth0", "10.0.0.1"),)),
                Guard("b", (router(2, 4, "eth1", "10.0.0.1"),)),
            ],
            "10.0.0.1",
        ),
        (
            [Guard("a", (router(1, 6, "eth0", "fe80::1"),)), Guard("b", (router(2, 6, "eth0", "fe80::1"),))],
            "fe80::1 on eth0",
        ),
    ],
)
def test_guards_that_contradict_are_refused(guards: list[Guard], message: str) -> None:
    with pytest.raises(EffectError, match=message):
        check_guards(guards)


def test_a_link_local_address_may_belong_to_one_claim_per_link() -> None:
    guards = (Guard("a", (router(1, 6, "eth0", "fe80::1"),)), Guard("b", (router(1, 6, "eth1", "fe80::1"),)))
    assert check_guards(guards) == guards


def test_how_late_a_lifetime_ends_is_said_by_plan_alone() -> None:
    assert "`haagent plan`" in Tier.LIFETIME.guarantee
    assert "second " not in Tier.LIFETIME.guarantee


def test_a_recording_gate_remembers_and_promises_nothing() -> None:
    gate = RecordingGate([Guard("a", ()), Guard("b", ())], Tier.LIFETIME, ("BPF gate: CAP_BPF is missing",))
    gate.extend(100)
    gate.open("a", 7)
    assert gate.status().passes("a", 99)
    assert not gate.status().passes("a", 100)
    assert not gate.status().passes("b", 99)
    gate.reconfigure([Guard("a", ())])
    gate.close_all()
    assert gate.status().claims == {"a": ClaimGate(open=False, epoch=7)}
    assert "cannot be stopped" in gate.status().problems[0]
    with pytest.raises(KeyError):
        gate.open("b", 1)


def test_jumps_go_forward_to_labels_that_exist() -> None:
    code = Assembler()
    code.jump_if(R1, Test.EQ, 5, "end")
    code.set(R0, 1)
    code.label("end")
    code.exit()
    assert code.assemble()[2:4] in {b"\1\0", b"\0\1"}
    code.jump("end")
    with pytest.raises(ValueError, match="not ahead"):
        code.assemble()
    code.jump("nowhere")
    with pytest.raises(ValueError, match="not ahead"):
        code.assemble()


@pytest.mark.parametrize(
    ("release", "version"), [("6.1.0-18-amd64", (6, 1)), ("5.15", (5, 15)), ("4.19.0+", (4, 19))]
)
def test_kernel_version(release: str, version: tuple[int, int]) -> None:
    assert kernel_version(release) == version
