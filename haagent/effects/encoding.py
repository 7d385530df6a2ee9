"""Events, actions and reports as JSON and back, exactly: what the flight recorder writes and ``haagent replay`` reads.

Promises ``decode(encode(x)) == x`` for every frozen dataclass it knows, whose fields are None, bool, int, float, str,
bytes, IP addresses, enums, tuples and other known dataclasses. Only known classes are ever constructed.

    dataclass  {"$": "TrackResult", "tracker": "chk", "passed": false}
    address    {"$ip": "192.0.2.1"}
    bytes      {"$text": "..."} if it is UTF-8, else {"$base64": "..."}
    enum       {"$enum": "State", "value": "MASTER"}
    tuple      [...]
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, get_args

from haagent.core.actions import Action
from haagent.core.events import Event
from haagent.core.register import Record
from haagent.core.reports import Report, State

KNOWN: tuple[type, ...] = (*get_args(Event), *get_args(Action), *get_args(Report), Record, State)


class Codec:
    """Translates the core's types and ``more`` (dataclasses and enums, such as the peers' messages)."""

    def __init__(self, more: Iterable[type] = ()) -> None:
        self._types: dict[str, type] = {known.__name__: known for known in (*KNOWN, *more)}

    def encode(self, value: object) -> Any:
        """Return ``value`` as what ``json.dumps`` takes. Raises TypeError for a type it does not know."""
        match value:
            case Enum() if self._types.get(type(value).__name__) is type(value):
                return {"$enum": type(value).__name__, "value": value.value}
            case None | bool() | int() | float() | str():
                return value
            case bytes():
                return _encode_bytes(value)
            case IPv4Address() | IPv6Address():
                return {"$ip": str(value)}
            case tuple():
                return [self.encode(item) for item in value]
            case _ if self._types.get(type(value).__name__) is type(value):
                fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))  # type: ignore[arg-type]
                return {"$": type(value).__name__, **{name: self.encode(item) for name, item in fields}}
            case _:
                raise TypeError(f"{type(value).__name__} is not a type the recorder knows")

    def decode(self, data: Any) -> Any:
        """Return what ``encode`` was given. Raises ValueError, saying what is not understood."""
        match data:
            case list():
                return tuple(self.decode(item) for item in data)
            case {"$ip": str(text)}:
                return ip_address(text)
            case {"$text": str(text)}:
                return text.encode()
            case {"$base64": str(text)}:
                return base64.b64decode(text, validate=True)
            case {"$enum": str(name), "value": value}:
                return self._type(name)(value)
            case {"$": str(name), **fields}:
                return self._construct(name, {str(key): self.decode(item) for key, item in fields.items()})
            case None | bool() | int() | float() | str():
                return data
            case _:
                raise ValueError(f"not an encoded value: {str(data)[:80]}")

    def _type(self, name: str) -> type:
        try:
            return self._types[name]
        except KeyError:
            raise ValueError(f"unknown type {name!r}; this recording is from another version") from None

    def _construct(self, name: str, fields: dict[str, object]) -> object:
        try:
            return self._type(name)(**fields)
        except TypeError as error:
            raise ValueError(f"{name} has other fields in this version: {error}") from None


def _encode_bytes(value: bytes) -> dict[str, str]:
    try:
        return {"$text": value.decode()}
    except UnicodeDecodeError:
        return {"$base64": base64.b64encode(value).decode("ascii")}
