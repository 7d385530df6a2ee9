"""Classic BPF for sockets: programs as lists of instructions, and how they are attached.

Promises: ``attach`` puts a filter on a socket or raises EffectError. Filters only spare us wake-ups; whatever
they let through is checked again in Python, and nothing here decides about a packet that matters.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

from haagent.errors import EffectError

# Instruction classes and modes of linux/bpf_common.h, composed.
LOAD_WORD, LOAD_HALF, LOAD_BYTE, LOAD_BYTE_AT_X = 0x20, 0x28, 0x30, 0x50
SET, SET_X, COPY_TO_X = 0x00, 0x01, 0x07
JUMP_EQUAL, JUMP_GREATER = 0x15, 0x25
RETURN = 0x06
# The kernel's ancillary data, linux/filter.h.
PACKET_TYPE = 0xFFFFF000 + 4
NETLINK_ATTRIBUTE = 0xFFFFF000 + 12
PACKET_OTHER_HOST = 3

ACCEPT, REJECT = 0xFFFF, 0
MAX_INSTRUCTIONS = 4096
_SO_ATTACH_FILTER = 26


class Instruction(NamedTuple):
    """One ``struct sock_filter``: jumps count the instructions to skip."""

    code: int
    k: int
    jump_true: int = 0
    jump_false: int = 0


DROP_ALL = (Instruction(RETURN, REJECT),)


def attach(sock: socket.socket, program: Iterable[Instruction]) -> None:
    """Let ``sock`` receive only what ``program`` accepts. Raises EffectError."""
    code = b"".join(struct.pack("=HBBI", i.code, i.jump_true, i.jump_false, i.k) for i in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
    except OSError as error:
        raise EffectError(f"cannot attach a packet filter: {error}") from error


def any_of(values: Iterable[int]) -> list[Instruction]:
    """Return instructions that accept if the accumulator is one of ``values`` and reject otherwise."""
    program: list[Instruction] = []
    for value in values:
        program += (Instruction(JUMP_EQUAL, value, 0, 1), Instruction(RETURN, ACCEPT))
    return [*program, Instruction(RETURN, REJECT)]
