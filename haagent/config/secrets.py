"""Secrets, from files and environment variables only: never from the configuration's text, a URL or an argument.

Errors name the file or the variable, never what is in it.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from haagent.config.messages import Messages
from haagent.errors import ConfigError, Place

_MOST = 4096


def from_file(name: str, what: str, place: Place, messages: Messages) -> str:
    """Return the text of a secret's file without the line end. Warns if everyone can read it; raises ConfigError."""
    path = Path(name)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError(f"{what} {name} is not a regular file", place)
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read {what} {name!r}: {getattr(error, 'strerror', error)}", place
        ) from None
    if mode & 0o007:
        messages.warning(f"{what} {name} is open to every user", place, f"chmod o= {name}")
    return _checked(content, f"{what} {name}", place)


def from_environment(variable: str, what: str, place: Place, environ: Mapping[str, str]) -> str:
    """Return a secret from an environment variable. Raises ConfigError."""
    if variable not in environ:
        raise ConfigError(f"{what}: the environment has no {variable}", place)
    return _checked(environ[variable].encode("utf-8", "surrogateescape"), f"{what} {variable}", place)


def _checked(content: bytes, what: str, place: Place) -> str:
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{what} is not UTF-8 text", place) from None
    if not text or len(content) > _MOST or "\0" in text or "\n" in text:
        raise ConfigError(f"{what} is empty, longer than {_MOST} bytes, or not one line", place)
    return text
