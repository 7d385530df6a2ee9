"""How registers are called in Consul: all but letters, digits, dashes and underscores is ``,`` and two hex digits.

Recent Consul refuses keys with other characters, with ``../``, and with an ending that looks like a file's, so
dots are written as ``,2E`` too.
"""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[^A-Za-z0-9_-]")
_WRITTEN = re.compile(r"(?:,[0-9A-F]{2})+")


def encode(text: str) -> str:
    """Return one part of a key."""
    return _PLAIN.sub(lambda found: "".join(f",{byte:02X}" for byte in found.group().encode()), text)


def decode(text: str) -> str:
    """Return what ``encode`` was given."""
    return _WRITTEN.sub(
        lambda found: bytes.fromhex(found.group().replace(",", "")).decode(errors="replace"), text
    )


def key(prefix: str, name: str) -> str:
    """Return the key of register ``name``: its kind, a slash, and the rest as one part."""
    kind, _, rest = name.partition("/")
    return f"{prefix}{kind}/{encode(rest)}"


def name_of(prefix: str, path: str) -> str:
    """Return the name of the register at key ``path``."""
    kind, _, rest = path.removeprefix(prefix).partition("/")
    return f"{kind}/{decode(rest)}"
