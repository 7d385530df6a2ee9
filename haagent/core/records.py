"""The values of the registers: small JSON texts that an operator can read with the store's own tools.

``sessions/<node>`` says that a node lives, ``claims/<name>`` who may be MASTER. Every value carries ``by``, which
is unique per write, so that "does the register hold exactly what I wrote?" always has one answer.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import TypeVar
from urllib.parse import quote

from haagent.core.register import Record
from haagent.core.units import MILLISECOND, Duration

Shown = TypeVar("Shown")

SHORTENED = "#"  # begins the digests of more claims than a session's record has room to name
DIGEST = 4  # characters of one; two that are alike make somebody wait, no more
ROOM = 2_000  # octets for the names of claims in a session's record, as JSON has them: up to 12 for one character
NOBODY = "-"  # reserved for nobody: no candidate may hurry, VRRP's own timers decide

SESSIONS = "sessions/"
CLAIMS = "claims/"

REMEMBERED = 64  # parsed values: a register is looked at far more often than it is written


def claim_register(name: str) -> str:
    """Return the register of a claim. Names from configurations may hold anything; registers may not."""
    return CLAIMS + quote(name, safe="")


def claim_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names as a session's record carries them: in full, or as digests if they are too many for that."""
    if sum(len(_to_json(name)) + 1 for name in names) <= ROOM:
        return names
    return (SHORTENED + "".join(_digest(name) for name in names[: ROOM // DIGEST]),)


def claim_mark(register: str, by: str) -> str:
    """Return the mark of the record that ``by`` wrote to a claim's register: short, for a session has to carry many."""
    return blake2b(f"{register}\0{by}".encode(), digest_size=6).hexdigest()


def _digest(name: str) -> str:
    return b64encode(blake2b(name.encode(), digest_size=DIGEST * 3 // 4).digest()).decode()


class BadRecord(ValueError):  # noqa: N818 - it is the record that is bad
    """A register holds something that haagent did not write."""


@dataclass(frozen=True, slots=True)
class Holder:
    """One run of one node: the identity that claims are given to."""

    node: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A node's sign of life. ``renew`` is how often it means to write, ``lease`` how long one write is good for.

    For whoever finds the record of a claim gone (core.witnesses): ``claims`` names what the node holds or may hold, in the
    form of ``claim_names``; ``vacant`` are marks of claims' records that it has seen while it held nothing by another one.
    """

    holder: Holder
    seq: int
    lease: Duration
    renew: Duration
    host: str
    electors: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    vacant: tuple[str, ...] = ()
    ended_by: str | None = None
    by: str = ""

    @property
    def ended(self) -> bool:
        return self.ended_by is not None

    def names(self, claim: str) -> bool:
        """Tell whether ``claims`` names this one."""
        if claim in self.claims:
            return True
        if len(self.claims) != 1 or not self.claims[0].startswith(SHORTENED):
            return False
        digests, wanted = self.claims[0].removeprefix(SHORTENED), _digest(claim)
        return any(digests.startswith(wanted, at) for at in range(0, len(digests), DIGEST))

    def ended_by_node(self, node: str, by: str) -> SessionRecord:
        """Return this session ended; the node it belongs to must start a new incarnation."""
        return replace(self, ended_by=node, by=by)

    def encode(self) -> bytes:
        """Return the register's value."""
        return _encode(
            {
                "node": self.holder.node,
                "incarnation": self.holder.incarnation,
                "seq": self.seq,
                "lease_ms": -(-self.lease // MILLISECOND),  # up: nobody may wait for less than we count on
                "renew_ms": self.renew // MILLISECOND,
                "host": self.host,
                "electors": list(self.electors),
                "claims": list(self.claims),
                "vacant": list(self.vacant),
                "state": f"ended by {self.ended_by}" if self.ended else "live",
                "ended_by": self.ended_by,
                "by": self.by,
            }
        )

    @staticmethod
    @lru_cache(REMEMBERED)
    def decode(value: bytes) -> SessionRecord:
        """Parse a register's value. Raises BadRecord."""
        fields = _decode(value)
        try:
            return SessionRecord(
                holder=Holder(_text(fields["node"]), _text(fields["incarnation"])),
                seq=_count(fields["seq"]),
                lease=_count(fields["lease_ms"]) * MILLISECOND,
                renew=_count(fields["renew_ms"]) * MILLISECOND,
                host=_text(fields["host"]),
                electors=tuple(_text(elector) for elector in _list(fields["electors"])),
                claims=tuple(_text(claim) for claim in _list(fields.get("claims", []))),
                vacant=tuple(_text(marked) for marked in _list(fields.get("vacant", []))),
                ended_by=None if fields["ended_by"] is None else _text(fields["ended_by"]),
                by=_text(fields["by"]),
            )
        except KeyError as missing:
            raise BadRecord(f"a session record without {missing}") from None


class ClaimState(StrEnum):
    """Whether a claim has a holder. ``VACANT`` was created by somebody who found no record at all."""

    HELD = "held"
    RELEASED = "released"
    VACANT = "vacant"


@dataclass(frozen=True, slots=True)
class Bid:
    """A better node asks the holder to hand the claim over."""

    holder: Holder
    priority: int


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """Who may be MASTER. ``epoch`` grows by one with every change of holder and is never reused.

    ``electors`` are the holder's when it took the claim: who may end its session if the session's record is gone.
    """

    state: ClaimState
    epoch: int
    holder: Holder | None = None
    bid: Bid | None = None
    reserved_for: str | None = None
    electors: tuple[str, ...] = ()
    by: str = ""

    def encode(self) -> bytes:
        """Return the register's value."""
        return _encode(
            {
                "state": self.state.value,
                "epoch": self.epoch,
                "holder": _holder_fields(self.holder),
                "bid": None
                if self.bid is None
                else {**_holder_fields(self.bid.holder), "priority": self.bid.priority},
                "reserved_for": self.reserved_for,
                "electors": list(self.electors),
                "by": self.by,
            }
        )

    @staticmethod
    @lru_cache(REMEMBERED)
    def decode(value: bytes) -> ClaimRecord:
        """Parse a register's value. Raises BadRecord."""
        fields = _decode(value)
        try:
            state = ClaimState(_text(fields["state"]))
            holder = _holder(fields["holder"])
            bid = fields["bid"]
            record = ClaimRecord(
                state=state,
                epoch=_count(fields["epoch"]),
                holder=holder,
                bid=None if bid is None else Bid(_some_holder(bid), _count(_dict(bid)["priority"])),
                reserved_for=None if fields["reserved_for"] is None else _text(fields["reserved_for"]),
                electors=tuple(_text(elector) for elector in _list(fields.get("electors", []))),
                by=_text(fields["by"]),
            )
        except KeyError as missing:
            raise BadRecord(f"a claim record without {missing}") from None
        except BadRecord:
            raise
        except ValueError as error:
            raise BadRecord(str(error)) from None
        if (record.holder is None) is (record.state is ClaimState.HELD):
            raise BadRecord("a claim is held if and only if it has a holder")
        return record


def shown_session(record: Record | None) -> SessionRecord | None:
    """Return the session a register's record shows; None for no record, and for what haagent did not write."""
    return _shown(record, SessionRecord.decode)


def shown_claim(record: Record | None) -> ClaimRecord | None:
    """Return the claim a register's record shows; None for no record, and for what haagent did not write."""
    return _shown(record, ClaimRecord.decode)


def _shown(record: Record | None, decode: Callable[[bytes], Shown]) -> Shown | None:
    if record is None:
        return None
    try:
        return decode(record.value)
    except BadRecord:
        return None


_to_json = json.JSONEncoder(separators=(",", ":")).encode


def _encode(fields: dict[str, object]) -> bytes:
    return _to_json(fields).encode()


def _decode(value: bytes) -> dict[str, object]:
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        raise BadRecord("not JSON") from None
    return _dict(fields)


def _holder_fields(holder: Holder | None) -> dict[str, object]:
    return {} if holder is None else {"node": holder.node, "incarnation": holder.incarnation}


def _holder(fields: object) -> Holder | None:
    return _some_holder(fields) if fields else None


def _some_holder(fields: object) -> Holder:
    known = _dict(fields)
    return Holder(_text(known["node"]), _text(known["incarnation"]))


def _dict(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise BadRecord(f"an object was expected, not {type(value).__name__}")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise BadRecord(f"a list was expected, not {type(value).__name__}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadRecord(f"a text was expected, not {type(value).__name__}")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 62:
        raise BadRecord(f"a whole number was expected, not {value!r:.40}")
    return value
