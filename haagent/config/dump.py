"""A Configuration as JSON: stable names and order, Durations as integer nanoseconds, secrets masked.

The names are the model's field names. Places become ``file:line:column``. Secrets (``auth_pass``, the peers' key, an
arbiter's password) appear as ``***``, so that the text can be shown to anyone.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from ipaddress import IPv4Address, IPv6Address

from haagent.config.model import Configuration
from haagent.errors import Place

MASK = "***"
_SECRET_FIELDS = frozenset({"auth_pass", "key"})
_OPEN_SETTINGS = frozenset({"ca", "cert", "key", "username"})


def to_json(configuration: Configuration) -> str:
    """Return the configuration as indented JSON text, ASCII only."""
    return json.dumps(_plain(configuration), indent=2)


def _plain(value: object) -> object:
    if isinstance(value, Place):
        return str(value)
    if isinstance(value, (IPv4Address, IPv6Address)):
        return str(value)
    if is_dataclass(value):
        return {one.name: _field(one.name, getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _field(name: str, value: object) -> object:
    if name in _SECRET_FIELDS and isinstance(value, bytes):
        return MASK if value else None
    if name == "settings" and isinstance(value, tuple):
        return {word: text if word in _OPEN_SETTINGS else MASK for word, text in value}
    return _plain(value)
