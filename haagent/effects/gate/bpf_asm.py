"""A small eBPF assembler: named instructions and labels in, the bytes bpf(2) loads out.

It promises one instruction (two slots for 64-bit immediates) per call, in the order of the calls, with jumps
resolved to labels. It knows nothing about packets; it checks only that labels exist and are reachable forwards.
Reference: the kernel's Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from enum import IntEnum

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, FP = range(11)


class Size(IntEnum):
    """How many bytes a load or store moves."""

    WORD = 0x00
    HALF = 0x08
    BYTE = 0x10
    DOUBLE = 0x18


class Test(IntEnum):
    """The condition of a jump; comparisons are unsigned."""

    __test__ = False  # not a test class, whatever pytest reads into the name

    EQ = 0x10
    GE = 0x30
    NE = 0x50


_LDX_MEM, _ST_MEM, _STX_MEM = 0x61, 0x62, 0x63
_ALU64, _JMP = 0x07, 0x05
_IMMEDIATE, _REGISTER = 0x00, 0x08
_ADD, _AND, _LSH, _MOV = 0x00, 0x50, 0x60, 0xB0
_JA, _CALL, _EXIT = 0x00, 0x80, 0x90
_LD_IMM64 = 0x18
_PSEUDO_MAP_FD, _PSEUDO_MAP_VALUE = 1, 2


@dataclass(slots=True)
class _Instruction:
    opcode: int
    dst: int = 0
    src: int = 0
    offset: int = 0
    immediate: int = 0
    target: str | None = None

    def encode(self) -> bytes:
        low_nibble_first = sys.byteorder == "little"
        registers = self.dst | self.src << 4 if low_nibble_first else self.dst << 4 | self.src
        return struct.pack("=BBhi", self.opcode, registers, self.offset, self.immediate)


class Assembler:
    """Collects instructions; ``assemble`` returns them encoded."""

    def __init__(self) -> None:
        self._code: list[_Instruction] = []
        self._labels: dict[str, int] = {}
        self._fresh = 0

    def fresh(self, stem: str) -> str:
        """Return a label nobody else uses."""
        self._fresh += 1
        return f"{stem}.{self._fresh}"

    def label(self, name: str) -> None:
        if name in self._labels:
            raise ValueError(f"label {name} is defined twice")
        self._labels[name] = len(self._code)

    def move(self, dst: int, src: int) -> None:
        self._emit(_ALU64 | _MOV | _REGISTER, dst, src)

    def set(self, dst: int, value: int) -> None:
        self._emit(_ALU64 | _MOV | _IMMEDIATE, dst, immediate=value)

    def add(self, dst: int, value: int) -> None:
        self._emit(_ALU64 | _ADD | _IMMEDIATE, dst, immediate=value)

    def and_(self, dst: int, mask: int) -> None:
        self._emit(_ALU64 | _AND | _IMMEDIATE, dst, immediate=mask)

    def shift_left(self, dst: int, bits: int) -> None:
        self._emit(_ALU64 | _LSH | _IMMEDIATE, dst, immediate=bits)

    def load(self, size: Size, dst: int, base: int, offset: int) -> None:
        """``dst = *(size *)(base + offset)``."""
        self._emit(_LDX_MEM | size, dst, base, offset)

    def store(self, size: Size, base: int, offset: int, src: int) -> None:
        """``*(size *)(base + offset) = src``."""
        self._emit(_STX_MEM | size, base, src, offset)

    def store_value(self, size: Size, base: int, offset: int, value: int) -> None:
        """``*(size *)(base + offset) = value`` (sign-extended from 32 bits)."""
        self._emit(_ST_MEM | size, base, 0, offset, immediate=value)

    def jump(self, target: str) -> None:
        self._emit(_JMP | _JA, target=target)

    def jump_if(self, left: int, test: Test, right: int, target: str) -> None:
        """Jump when register ``left`` compares with the constant ``right``."""
        self._emit(_JMP | test | _IMMEDIATE, left, immediate=right, target=target)

    def jump_if_register(self, left: int, test: Test, right: int, target: str) -> None:
        self._emit(_JMP | test | _REGISTER, left, right, target=target)

    def call(self, helper: int) -> None:
        self._emit(_JMP | _CALL, immediate=helper)

    def exit(self) -> None:
        self._emit(_JMP | _EXIT)

    def map(self, dst: int, fd: int) -> None:
        """``dst`` = the map behind ``fd``, as helpers want it."""
        self._emit(_LD_IMM64, dst, _PSEUDO_MAP_FD, immediate=fd)
        self._emit(0)

    def map_value(self, dst: int, fd: int) -> None:
        """``dst`` = the address of the first value of the array map behind ``fd`` (kernel 5.2)."""
        self._emit(_LD_IMM64, dst, _PSEUDO_MAP_VALUE, immediate=fd)
        self._emit(0)

    def assemble(self) -> bytes:
        """Return the program, 8 bytes a slot. Raises ValueError for a label that is missing or lies behind."""
        for here, instruction in enumerate(self._code):
            if instruction.target is None:
                continue
            there = self._labels.get(instruction.target)
            if there is None or there <= here:
                raise ValueError(f"label {instruction.target} is not ahead of instruction {here}")
            instruction.offset = there - here - 1
        return b"".join(instruction.encode() for instruction in self._code)

    def _emit(
        self,
        opcode: int,
        dst: int = 0,
        src: int = 0,
        offset: int = 0,
        *,
        immediate: int = 0,
        target: str | None = None,
    ) -> None:
        self._code.append(_Instruction(opcode, dst, src, offset, immediate, target))
