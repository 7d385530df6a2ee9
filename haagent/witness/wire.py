"""What a witness and its clients say to each other on a TCP connection: the greeting, the frames, the messages.

Promises that nothing a stranger sends is looked into before a MAC proved that a holder of the key wrote it, for this
very connection, in this direction, and at this place in the stream: what was recorded, reflected, reordered, cut out
or changed on the way is found and ends the connection. Hides nothing from who listens: that is what TLS is for.

Theory of operation::

    client   "HAW" version nonce
    witness  "HAW" version nonce  HMAC(key, "witness" client's nonce, witness's nonce)
    client   HMAC(key, "client" client's nonce, witness's nonce), then frames
    frame    length, 4 bytes   HMAC(key of this connection and direction, number of the frame, payload)   payload

The witness proves itself first, so a client with another key knows at once, and tells nobody. Both nonces are in
every proof and in the keys of the frames; both sides write half of what makes a connection unlike any other.
Payloads are JSON; values, which are bytes, are Base64 in it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from haagent.arbiter import Record

MAGIC = b"HAW"
VERSION = 1
LARGEST = 64 * 1024  # bytes of a payload
LARGEST_VALUE = 16 * 1024  # bytes; haagent's own are below 4 KiB, and a quorum adds a header
LONGEST_NAME = 512  # characters of a register's, domain's or node's name
NAMED = frozenset({"open", "read", "swap"})  # operations that are about something
_HEAD = MAGIC + bytes((VERSION,))
_NONCE = _MAC = 32

Side: TypeAlias = Literal["client", "witness"]
Fields: TypeAlias = Mapping[str, Any]


class WireError(Exception):
    """What arrived is not what a holder of the key sent here now. The connection is to be ended."""


class WrongKey(WireError):  # noqa: N818 - what it is
    """The other side does not have our key."""


class Stranger(WireError):  # noqa: N818 - as above
    """The other side does not speak this protocol, or another version of it."""


class Channel:
    """The frames of one connection after the greeting. ``side`` is ours."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        side: Side,
        key: bytes,
        nonces: bytes,
    ) -> None:
        self._reader, self.writer = reader, writer
        other: Side = "witness" if side == "client" else "client"
        self._sending, self._receiving = (
            _code(key, f"{side} frames", nonces),
            _code(key, f"{other} frames", nonces),
        )
        self._sent = self._received = 0

    def send(self, message: Fields) -> None:
        """Put one message into the connection's buffer. Raises ValueError if it is too large."""
        payload = json.dumps(message, separators=(",", ":")).encode()
        if len(payload) > LARGEST:
            raise ValueError(f"a message of {len(payload)} bytes; at most {LARGEST}")
        mac = _frame_code(self._sending, self._sent, payload)
        self._sent += 1
        self.writer.write(len(payload).to_bytes(4, "big") + mac + payload)

    async def receive(self) -> dict[str, Any]:
        """Return the next message. Raises WireError; EOFError or OSError when the connection is over."""
        head = await self._reader.readexactly(4 + _MAC)
        length = int.from_bytes(head[:4], "big")
        if length > LARGEST:
            raise WireError(f"a frame of {length} bytes; at most {LARGEST}")
        payload = await self._reader.readexactly(length)
        if not hmac.compare_digest(_frame_code(self._receiving, self._received, payload), head[4:]):
            raise WireError("a frame that is not authentic")
        self._received += 1
        try:
            message = json.loads(payload)
        except (ValueError, RecursionError):
            raise WireError("a frame that is not JSON") from None
        if not isinstance(message, dict):
            raise WireError("a frame that is no object")
        return message


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: bytes) -> Channel:
    """Greet as a client. Raises WrongKey, Stranger, EOFError, OSError; ends only when the witness answers."""
    own = secrets.token_bytes(_NONCE)
    writer.write(_HEAD + own)
    await _head(reader, "a witness")
    nonces = own + await reader.readexactly(_NONCE)
    if not hmac.compare_digest(_code(key, "witness", nonces), await reader.readexactly(_MAC)):
        raise WrongKey("the witness has another key")
    writer.write(_code(key, "client", nonces))
    return Channel(reader, writer, "client", key, nonces)


async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: bytes) -> Channel:
    """Greet as the witness. Raises as ``greet`` does."""
    await _head(reader, "a client of a witness")
    own = secrets.token_bytes(_NONCE)
    nonces = await reader.readexactly(_NONCE) + own
    writer.write(_HEAD + own + _code(key, "witness", nonces))
    if not hmac.compare_digest(_code(key, "client", nonces), await reader.readexactly(_MAC)):
        raise WrongKey("the client has another key")
    return Channel(reader, writer, "witness", key, nonces)


async def _head(reader: asyncio.StreamReader, expected: str) -> bytes:
    head = await reader.readexactly(len(_HEAD))
    if not head.startswith(MAGIC):
        raise Stranger(f"not {expected}")
    if head != _HEAD:
        raise Stranger(f"speaks version {head[-1]} of the protocol, and this is version {VERSION}")
    return head


def _code(key: bytes, purpose: str, content: bytes) -> bytes:
    return hmac.digest(key, f"haagent witness {VERSION} {purpose}\0".encode() + content, hashlib.sha256)


def _frame_code(key: bytes, number: int, payload: bytes) -> bytes:
    return hmac.digest(key, number.to_bytes(8, "big") + payload, hashlib.sha256)


# -- messages


@dataclass(frozen=True, slots=True)
class Request:
    """One question: ``operation`` is open, read, swap, watch, erase or ping; ``number`` comes back with the answer."""

    number: int
    operation: str
    name: str = ""
    value: bytes = b""
    expected: Record | None = None

    def encode(self) -> Fields:
        """Return the message. Raises ValueError for a name that a witness would end the connection for."""
        if len(self.name) > LONGEST_NAME:
            raise ValueError(f"a name of {len(self.name)} characters; a witness takes at most {LONGEST_NAME}")
        fields: dict[str, Any] = {"number": self.number, "operation": self.operation, "name": self.name}
        if self.operation == "swap":
            fields |= {"value": b64encode(self.value).decode(), "expected": record_fields(self.expected)}
        return fields


def read_request(fields: Fields) -> Request:
    """Return the request a message is. Raises WireError."""
    try:
        request = Request(
            number=_number(fields["number"]),
            operation=_text(fields["operation"]),
            name=_text(fields["name"]),
            value=_bytes(fields.get("value", "")),
            expected=read_record(fields.get("expected")),
        )
    except (KeyError, ValueError) as error:
        raise WireError(f"a request that means nothing: {error}") from None
    if not request.name and request.operation in NAMED:
        raise WireError(f"a request that means nothing: {request.operation} without a name")
    return request


def record_fields(record: Record | None) -> list[str] | None:
    """Return a record as it stands in a message."""
    return None if record is None else [b64encode(record.value).decode(), record.version]


def read_record(fields: object) -> Record | None:
    """Return the record that stands in a message. Raises ValueError."""
    if fields is None:
        return None
    if not isinstance(fields, list) or len(fields) != 2:
        raise ValueError("a record is a value and a version")
    return Record(_bytes(fields[0]), _text(fields[1]))


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise ValueError(f"a text of at most {LONGEST_NAME} characters was expected")
    value.encode()  # half a surrogate pair passes JSON and no database
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ValueError("a whole number was expected")
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("Base64 was expected")  # noqa: TRY004 - one kind of error for whatever a peer sends
    decoded = b64decode(value, validate=True)
    if len(decoded) > LARGEST_VALUE:
        raise ValueError(f"a value of {len(decoded)} bytes; at most {LARGEST_VALUE}")
    return decoded
