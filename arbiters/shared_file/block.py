"""How a block looks on a file, and how damage is told from a write that was cut short.

A block is 4096 bytes, eight sectors of 512. Each sector ends with the stamp of the write it belongs to and its own
CRC-32, seeded with where it belongs. So there are three outcomes: valid; *torn* (every sector is whole, but of two
writes: the last write never finished, nobody was told of it); *damaged* (a sector is not what anybody wrote there).
The difference matters: a torn block may be passed over for the one before it. A damaged one may have been
acknowledged, and passing over it would be forgetting.
"""

from __future__ import annotations

import os
import struct
import zlib
from functools import lru_cache

from arbiters.shared_file.ballot import NODES_AT_MOST, Accepted, Block

BLOCK = 4096
_SECTOR, _STAMP, _CRC = 512, 4, 4
_PART = _SECTOR - _STAMP - _CRC
_SECTORS = BLOCK // _SECTOR
PAYLOAD = _SECTORS * _PART  # 4032 bytes

_WIDE = 6  # bytes of a ballot or version number: 2**48 renewals at 100 a second are 89,000 years
_LENGTHS = struct.Struct(">BH")
_FIXED = (3 + NODES_AT_MOST) * _WIDE + _LENGTHS.size
TEXT_AT_MOST = PAYLOAD - _FIXED  # bytes of a register's name and value together


class Torn(Exception):  # noqa: N818 - it is the block that is torn
    """A write of this block was cut short; what it would have said was never acknowledged."""


class Damaged(Exception):  # noqa: N818
    """This block holds something that nobody wrote there."""


def seal(payload: bytes, where: bytes) -> bytes:
    """Return ``payload`` (at most PAYLOAD bytes) as a block that belongs to ``where``."""
    payload = payload.ljust(PAYLOAD, b"\0")
    stamp = os.urandom(_STAMP)
    sectors = []
    for number, seed in enumerate(_seeds(where)):
        part = payload[number * _PART : (number + 1) * _PART] + stamp
        sectors.append(part + zlib.crc32(part, seed).to_bytes(_CRC, "big"))
    return b"".join(sectors)


def unseal(raw: bytes, where: bytes) -> bytes:
    """Return the payload (PAYLOAD bytes) of the block found at ``where``. Raises Torn or Damaged."""
    parts, stamps = [], set()
    for number, seed in enumerate(_seeds(where)):
        sector = raw[number * _SECTOR : (number + 1) * _SECTOR]
        if len(sector) != _SECTOR or zlib.crc32(sector[:-_CRC], seed) != int.from_bytes(
            sector[-_CRC:], "big"
        ):
            raise Damaged(_describe(raw, number))
        parts.append(sector[:_PART])
        stamps.add(sector[_PART:-_CRC])
    if len(stamps) > 1:
        raise Torn("its sectors are of two different writes")
    return b"".join(parts)


def encode(block: Block) -> bytes:
    """Return a block's payload. The text must fit, see TEXT_AT_MOST."""
    accepted = block.accepted or Accepted(0, "", b"", (0,) * NODES_AT_MOST)
    numbers = (block.mbal, block.bal, accepted.version, *accepted.history)
    name = accepted.name.encode()
    head = b"".join(number.to_bytes(_WIDE, "big") for number in numbers)
    return head + _LENGTHS.pack(len(name), len(accepted.value)) + name + accepted.value


def decode(payload: bytes) -> Block:
    """Return the block of a payload that ``unseal`` found whole."""
    mbal, bal, version, *history = (
        int.from_bytes(payload[at : at + _WIDE], "big") for at in range(0, (3 + NODES_AT_MOST) * _WIDE, _WIDE)
    )
    name_length, value_length = _LENGTHS.unpack_from(payload, _FIXED - _LENGTHS.size)
    name = payload[_FIXED : _FIXED + name_length].decode()
    value = payload[_FIXED + name_length : _FIXED + name_length + value_length]
    return Block(mbal, bal, Accepted(version, name, value, tuple(history)) if version else None)


@lru_cache(maxsize=8192)
def _seeds(where: bytes) -> tuple[int, ...]:
    return tuple(zlib.crc32(where + bytes((number,))) for number in range(_SECTORS))


def _describe(raw: bytes, number: int) -> str:
    if not any(raw):
        return "it is all zeros: the file has a hole, or was truncated and extended"
    return f"the checksum of its 512-byte sector {number} is wrong"
