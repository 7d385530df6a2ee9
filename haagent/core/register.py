"""What an arbiter's register held when it was last seen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """``value`` as written, ``version`` an opaque token of the store that is never empty."""

    value: bytes
    version: str
