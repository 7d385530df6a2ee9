"""The way back from an arbiter to the block that means it.

Promise: reading what ``arbiter_block`` returned gives an equal ArbiterConfig; where no block can say it, a ConfigError
names the word. A password is never written: the block says where it is, as the original did.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from haagent.config.model import ArbiterConfig
from haagent.core.units import MILLISECOND, SECOND, Duration
from haagent.errors import ConfigError

_PLAIN = re.compile(r'[^\s"{}#!$\\]+')
_QUOTABLE = re.compile(
    r'(?:[^"$\\]|\\(?!$))+'
)  # the lexer knows no escape for a quote, and $ may begin a name
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


def arbiter_block(arbiter: ArbiterConfig) -> list[str]:
    """Return the lines of ``arbiter KIND { ... }``. Raises ConfigError."""
    return list(_block(f"arbiter {arbiter.kind}", arbiter, domain=_says_domain(arbiter)))


def _says_domain(arbiter: ArbiterConfig) -> bool:
    """Members of a quorum keep domains of their own only where the quorum names none."""
    return all(member.domain == arbiter.domain for member in arbiter.members)


def _block(head: str, arbiter: ArbiterConfig, *, domain: bool) -> Iterator[str]:
    yield f"{head} {{"
    if arbiter.endpoints:
        yield f"    endpoints {' '.join(_word('endpoints', one) for one in arbiter.endpoints)}"
    if domain:
        yield f"    domain {_word('domain', arbiter.domain)}"
    for name, time in (("lease", arbiter.lease), ("renew", arbiter.renew), ("guard", arbiter.guard)):
        if time is not None:
            yield f"    {name} {_time(time)}"
    open_words = tuple(one for one in arbiter.settings if one[0] != "password")
    for name, text in (*open_words, *filter(None, (arbiter.password_from,))):
        if not _KEYWORD.fullmatch(name):
            raise ConfigError(f"the arbiter's word {name!r} cannot be written into a file", arbiter.place)
        yield f"    {name} {_word(name, text)}"
    for member in arbiter.members:
        lines = _block(member.kind, member, domain=not _says_domain(arbiter))
        yield from (f"    {line}" for line in lines)
    yield "}"


def _time(time: Duration) -> str:
    for unit, length in (("s", SECOND), ("ms", MILLISECOND)):
        if time % length == 0:
            return f"{time // length}{unit}"
    return f"{Decimal(time).scaleb(-9):f}s"


def _word(name: str, text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    if text.isprintable() and _QUOTABLE.fullmatch(text):
        return f'"{text}"'
    raise ConfigError(
        f"{name} {text!r} cannot be written into a file",
        None,
        'no ", no $, no control characters, no \\ at its end',
    )
