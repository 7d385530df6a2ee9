"""What one node says to another on the peer channel, as bytes and back.

Promises: ``unseal`` is total on hostile input, constructs nothing before the MAC is proved, and only ever returns
what a holder of the key wrote for exactly this recipient. Knows no sockets, no clocks and no state: whether an
authentic message is *fresh* is the business of ``peer_link``.

A datagram is at most ``LARGEST`` bytes::

    "HAP"  3 bytes, then the version, 1 byte
    MAC    32 bytes, HMAC-SHA256 over "HAP", version and payload
    JSON   compact, the fields of ``Envelope``; times are integer nanoseconds

Sender and recipient are part of what is authenticated: a message for one node is worth nothing to another, and a
node's own messages are worth nothing when they are sent back to it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from haagent.core.failsafe import PromiseReply, PromiseRequest
from haagent.core.records import Holder
from haagent.core.units import SECOND, Duration, Instant
from haagent.errors import ConfigError

MAGIC = b"HAP"
VERSION = 1
LEAST_KEY = 16  # bytes
LARGEST = 60_000  # bytes; a UDP datagram holds 65507, and 1000 claims with long names fit
LONGEST_LEASE: Duration = 3600 * SECOND
_HEAD = MAGIC + bytes((VERSION,))
_MAC = 32
_LONGEST_TEXT = 256
_MOST_CLAIMS = 4096

Body: TypeAlias = PromiseRequest | PromiseReply | None


class Discard(StrEnum):
    """Why a datagram changed nothing. The first four are found without knowing who sent it."""

    SIZE = "size"
    VERSION = "version"
    NOT_AUTHENTIC = "not authentic"
    MALFORMED = "malformed"
    NOT_FOR_US = "for another node"
    UNKNOWN_NODE = "from a node that is not configured"
    STALE = "from or for an earlier run"
    REPEATED = "repeated"


class Malformed(ValueError):  # noqa: N818 - what it is, as Conflict and Unavailable are
    """An authentic payload that means nothing in this version."""


@dataclass(frozen=True, slots=True)
class Echo:
    """The last message the sender had accepted from the recipient: its number, its ``sent``, and how long ago."""

    number: int
    sent: Instant
    held: Duration


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message. ``channel`` is the sender's, random per process; ``toward`` the recipient's, "" if not known yet.

    ``number`` grows with every message of a channel to one recipient; ``sent`` is the sender's ``fast`` clock. A
    body of None is a hello.
    """

    sender: str
    recipient: str
    channel: str
    toward: str
    number: int
    sent: Instant
    echo: Echo | None = None
    body: Body = None


def check_key(key: bytes) -> bytes:
    """Return ``key``. Raises ConfigError if it is too short to be a secret."""
    if len(key) < LEAST_KEY:
        raise ConfigError(
            f"the peers' key has {len(key)} bytes", remedy=f"at least {LEAST_KEY}, the same on every node"
        )
    return key


def seal(envelope: Envelope, key: bytes) -> bytes:
    """Return the datagram. Raises ValueError if it would be larger than ``LARGEST``."""
    payload = json.dumps(_fields(envelope), separators=(",", ":")).encode()
    if len(payload) + len(_HEAD) + _MAC > LARGEST:
        raise ValueError(f"a message of {len(payload)} bytes; at most {LARGEST} with everything")
    return _HEAD + _code(payload, key) + payload


def unseal(data: bytes, key: bytes) -> Envelope | Discard:
    """Return what a holder of ``key`` wrote, or why this datagram is nothing of the kind. Never raises."""
    if not len(_HEAD) + _MAC < len(data) <= LARGEST:
        return Discard.SIZE
    if data[: len(_HEAD)] != _HEAD:
        return Discard.VERSION
    payload = data[len(_HEAD) + _MAC :]
    if not hmac.compare_digest(_code(payload, key), data[len(_HEAD) : len(_HEAD) + _MAC]):
        return Discard.NOT_AUTHENTIC
    try:
        return _envelope(_mapping(json.loads(payload)))
    except (ValueError, KeyError, RecursionError):
        return Discard.MALFORMED


def _code(payload: bytes, key: bytes) -> bytes:
    return hmac.digest(key, _HEAD + payload, hashlib.sha256)


def _fields(envelope: Envelope) -> dict[str, object]:
    fields: dict[str, object] = {
        "from": envelope.sender,
        "to": envelope.recipient,
        "channel": envelope.channel,
        "toward": envelope.toward,
        "number": envelope.number,
        "sent": envelope.sent,
    }
    if envelope.echo is not None:
        fields["echo"] = [envelope.echo.number, envelope.echo.sent, envelope.echo.held]
    match envelope.body:
        case PromiseRequest(holder, number, claims, lease, epochs):
            asked = {"claims": claims, "lease": lease, "epochs": epochs}
            fields["ask"] = {**_holder_fields(holder, number), **asked}
        case PromiseReply(holder, number, refusal):
            fields["answer"] = {**_holder_fields(holder, number), "refusal": refusal}
        case None:
            pass
    return fields


def _holder_fields(holder: Holder, number: int) -> dict[str, object]:
    return {"node": holder.node, "incarnation": holder.incarnation, "number": number}


def _envelope(fields: Mapping[str, object]) -> Envelope:
    echo = fields.get("echo")
    return Envelope(
        sender=_text(fields["from"]),
        recipient=_text(fields["to"]),
        channel=_text(fields["channel"]),
        toward=_text(fields["toward"]),
        number=_count(fields["number"]),
        sent=_count(fields["sent"]),
        echo=None if echo is None else _echo(echo),
        body=_body(fields),
    )


def _echo(value: object) -> Echo:
    if not isinstance(value, list) or len(value) != 3:
        raise Malformed("echo")
    return Echo(_count(value[0]), _count(value[1]), _count(value[2]))


def _body(fields: Mapping[str, object]) -> Body:
    if "ask" in fields:
        return _request(_mapping(fields["ask"]))
    if "answer" in fields:
        answer = _mapping(fields["answer"])
        return PromiseReply(_holder(answer), _count(answer["number"]), _text(answer["refusal"]))
    return None


def _request(ask: Mapping[str, object]) -> PromiseRequest:
    claims = tuple(_text(name) for name in _list(ask["claims"]))
    epochs = tuple(_count(epoch) for epoch in _list(ask["epochs"]))
    if len(epochs) not in (0, len(claims)):
        raise Malformed("an epoch for each claim, or none")
    lease = _count(ask["lease"], LONGEST_LEASE)
    return PromiseRequest(_holder(ask), _count(ask["number"]), claims, lease, epochs)


def _holder(fields: Mapping[str, object]) -> Holder:
    return Holder(_text(fields["node"]), _text(fields["incarnation"]))


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise Malformed("an object was expected")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or len(value) > _MOST_CLAIMS:
        raise Malformed("a list was expected")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise Malformed("a text was expected")
    return value


def _count(value: object, most: int = (1 << 62) - 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise Malformed("a whole number was expected")
    return value
