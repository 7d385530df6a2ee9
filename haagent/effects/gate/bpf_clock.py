"""Whether this process reads the clock that the gate's BPF programs compare its deadlines with.

A time namespace may shift CLOCK_BOOTTIME of the processes in it (container runtimes can set that), but not
``bpf_ktime_get_boot_ns``. A deadline made from a clock that is ahead would keep the gate open that much too long, one
made from a clock that is behind would keep it shut. /proc/self/timens_offsets does not tell: it is about the children.
So it is measured: a program stores what it reads between two readings of ours.

Promises that a shift of more than twice ``TOLERANCE`` is noticed. Attaches nothing and leaves nothing. One look is
enough for a process: haagent never changes its own time namespace, and nobody can shift one that is in use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from haagent.core.units import MILLISECOND, SECOND, Duration
from haagent.effects.gate import bpf_syscall as bpf
from haagent.effects.gate.bpf_asm import R0, R1, Assembler, Size
from haagent.effects.gate.bpf_program import KTIME_GET_BOOT_NS, PASS
from haagent.effects.gate.bpf_state import Words
from haagent.effects.gate.bpf_syscall import MMAPABLE, MapInfo, MapType
from haagent.effects.gate.model import boot_now
from haagent.errors import EffectError

# What the tier promises; far more than two readings of one clock can differ.
TOLERANCE: Duration = MILLISECOND
_ATTEMPTS = 100
_SHARED = MapInfo("haagent1_clock", MapType.ARRAY, 4, 8, 1, MMAPABLE)
_FRAME = bytes(64)


def clock_problem() -> str:
    """Return why deadlines of this process mean another time to a BPF program, for an operator; "" if they do not.

    Raises OSError if the kernel does not run the program, EffectError if it cannot be told.
    """
    ahead = clock_shift()
    if not ahead:
        return ""
    return (
        f"CLOCK_BOOTTIME of this process is {abs(ahead) / SECOND:.3f} s {'ahead of' if ahead > 0 else 'behind'} "
        "the kernel's, because it runs in a time namespace with an offset, which BPF programs ignore"
    )


def clock_shift() -> Duration:
    """Return by how many ns this process's CLOCK_BOOTTIME is ahead of what programs read; 0 if it is the same clock.

    Raises as ``clock_problem``.
    """
    with _program_clock() as read:
        for _ in range(_ATTEMPTS):
            # Kernels that look for signals after a test run forget its result; the next attempt asks again.
            with suppress(InterruptedError):
                before, there, after = boot_now(), read(), boot_now()
                if after - before <= TOLERANCE:
                    return _shift(before, there, after)
    raise EffectError(
        f"the kernel's clock could not be compared with ours: {_ATTEMPTS} readings all took more than a millisecond"
    )


def _shift(before: int, there: int, after: int) -> Duration:
    if before - TOLERANCE <= there <= after + TOLERANCE:
        return 0
    return (before + after) // 2 - there


@contextmanager
def _program_clock() -> Iterator[Callable[[], int]]:
    """Yield a function that has a program read its clock, in ns. Raises OSError."""
    bpf.raise_memlock_limit()
    with ExitStack() as leaving:
        shared = bpf.map_create(_SHARED)
        leaving.callback(os.close, shared)
        value = Words(shared, 1)
        leaving.callback(value.close)
        program = bpf.program_load("haagent_clock", _reader(shared))
        leaving.callback(os.close, program)

        def read() -> int:
            bpf.program_test_run(program, _FRAME)
            return int(value.words[0])

        yield read


def _reader(shared: int) -> bytes:
    """Return the program that stores its clock in the map's only value."""
    asm = Assembler()
    asm.call(KTIME_GET_BOOT_NS)
    asm.map_value(R1, shared)
    asm.store(Size.DOUBLE, R1, 0, R0)
    asm.set(R0, PASS)
    asm.exit()
    return asm.assemble()
