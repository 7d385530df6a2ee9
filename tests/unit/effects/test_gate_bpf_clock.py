"""Our clock against that of BPF programs: read by the real kernel, shifted here by shifting our own reading of it.

Inside real time namespaces: ``tests/netns/test_gate_clock.py``.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import count

import pytest

from haagent.core.units import MICROSECOND, MILLISECOND, SECOND, Duration
from haagent.effects.gate import boot_now, bpf_clock, bpf_gate
from haagent.effects.gate import bpf_syscall as bpf
from haagent.effects.gate.bpf_asm import R0, Assembler
from haagent.effects.gate.bpf_clock import clock_problem, clock_shift
from haagent.effects.gate.bpf_program import egress
from haagent.effects.gate.bpf_state import SharedState
from haagent.errors import EffectError

loads_programs = pytest.mark.skipif(os.geteuid() != 0, reason="loading BPF programs needs root")


def shift_our_clock(monkeypatch: pytest.MonkeyPatch, by: Duration) -> None:
    monkeypatch.setattr(bpf_clock, "boot_now", lambda: boot_now() + by)


@loads_programs
def test_without_a_time_namespace_it_is_one_clock_and_looking_leaves_nothing() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    assert clock_shift() == 0
    assert clock_problem() == ""
    assert sorted(os.listdir("/proc/self/fd")) == before


@loads_programs
@pytest.mark.parametrize("by", [1000 * SECOND, -1000 * SECOND, 3 * MILLISECOND, -3 * MILLISECOND, 1 << 52])
def test_a_shift_is_measured(monkeypatch: pytest.MonkeyPatch, by: Duration) -> None:
    shift_our_clock(monkeypatch, by)
    assert abs(clock_shift() - by) <= MILLISECOND


@loads_programs
def test_a_gate_that_would_misread_its_deadlines_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    shift_our_clock(monkeypatch, -7 * SECOND)
    monkeypatch.setattr(bpf_gate.bpf_attach, "find", lambda: pytest.fail("something was touched before"))
    with pytest.raises(
        EffectError, match=r"(7\.00.|6\.999) s behind the kernel's, because .* time namespace"
    ):
        bpf_gate.BpfGate([], keep=True)


@loads_programs
def test_an_interrupted_or_slow_reading_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run, attempts = bpf.program_test_run, count()

    def disturbed(fd: int, frame: bytes) -> int:
        attempt = next(attempts)
        if attempt == 0:
            raise InterruptedError
        if attempt == 1:
            time.sleep(0.005)  # stopped between our two readings, which then say nothing
        return run(fd, frame)

    monkeypatch.setattr(bpf, "program_test_run", disturbed)
    assert clock_shift() == 0
    assert next(attempts) >= 3


@loads_programs
def test_a_clock_that_cannot_be_compared_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = count(step=2 * MILLISECOND)
    monkeypatch.setattr(bpf_clock, "boot_now", lambda: next(steps))
    with pytest.raises(EffectError, match="could not be compared"):
        clock_shift()


@loads_programs
def test_a_kernel_that_runs_no_program_refuses_the_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(bpf, "program_test_run", refused)
    with pytest.raises(
        EffectError, match="did not let us read the clock of BPF programs: Operation not permitted"
    ):
        bpf_gate.BpfGate([], keep=False)


@pytest.mark.parametrize(
    ("there", "shift"),
    [
        (10 * SECOND, 0),
        (10 * SECOND - MILLISECOND, 0),
        (10 * SECOND + 200 * MICROSECOND + MILLISECOND, 0),
        (10 * SECOND - MILLISECOND - 1, 1100 * MICROSECOND + 1),
        (10 * SECOND + 1200 * MICROSECOND + 1, -1100 * MICROSECOND - 1),
    ],
)
def test_the_kernels_reading_has_to_lie_between_ours(there: int, shift: Duration) -> None:
    assert bpf_clock._shift(10 * SECOND, there, 10 * SECOND + 200 * MICROSECOND) == shift


def accepts_everything() -> bytes:
    asm = Assembler()
    asm.set(R0, 0)
    asm.exit()
    return asm.assemble()


@loads_programs
def test_signals_do_not_keep_a_program_from_being_loaded() -> None:
    """The kernel's verifier gives up for a signal: without another attempt every third of these signals fails a load."""
    state, handler = SharedState.create(), signal.signal(signal.SIGUSR1, lambda *_: None)
    code, loader = egress(state.descriptors, ethernet=True), threading.get_ident()

    def disturb() -> None:
        for _ in range(30):
            time.sleep(0.02)
            signal.pthread_kill(loader, signal.SIGUSR1)

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    try:
        while disturbing.is_alive():
            os.close(bpf.program_load("haagent_test", code))
    finally:
        disturbing.join()
        signal.signal(signal.SIGUSR1, handler)
        state.close()


@pytest.mark.parametrize(("interruptions", "loads"), [(0, 1), (4, 5)])
def test_a_load_that_a_signal_interrupted_is_repeated(
    monkeypatch: pytest.MonkeyPatch, interruptions: int, loads: int
) -> None:
    calls = count(1)

    def interrupted(_command: int, _attributes: bytes) -> int:
        if next(calls) <= interruptions:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return 42

    monkeypatch.setattr(bpf, "_bpf", interrupted)
    assert bpf.program_load("haagent_test", accepts_everything()) == 42
    assert next(calls) == loads + 1


def test_a_load_that_is_always_interrupted_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count(1)

    def interrupted(_command: int, _attributes: bytes) -> int:
        next(calls)
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(bpf, "_bpf", interrupted)
    with pytest.raises(BlockingIOError):
        bpf.program_load("haagent_test", accepts_everything())
    assert next(calls) == 6


def test_a_machine_whose_call_number_is_not_known_takes_the_next_tier(monkeypatch) -> None:
    monkeypatch.setattr(bpf.platform, "machine", lambda: "armv7l")
    with pytest.raises(EffectError, match=r"the number of bpf\(2\) on armv7l is not known"):
        bpf_gate.BpfGate((), keep=False)
