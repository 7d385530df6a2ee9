"""Single values: one token in, a checked value out, or a ConfigError that says what is accepted.

May not know keywords or blocks. Times become Durations here, and nowhere else in the configuration.
"""

from __future__ import annotations

import re
from decimal import Decimal
from ipaddress import ip_address

from haagent.config.lexer import Token
from haagent.config.network_model import IPAddress
from haagent.core.units import SECOND, Duration
from haagent.errors import ConfigError

ON, OFF = frozenset({"on", "true", "yes"}), frozenset({"off", "false", "no"})
_PLAIN_NUMBER = re.compile(r"\+?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(ms|us|s|m|h)?")
_UNITS = {"us": 1_000, "ms": 1_000_000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_MICROSECONDS = Decimal(1_000_000)


def integer(token: Token, low: int, high: int, what: str) -> int:
    """Return a decimal number within low..high."""
    digits = token.text[1:] if token.text[:1] in ("-", "+") else token.text
    if (
        not (digits.isascii() and digits.isdigit() and len(digits) <= 10)
        or not low <= int(token.text) <= high
    ):
        raise ConfigError(f"{what} is {token.text!r}", token.place, f"a whole number from {low} to {high}")
    return int(token.text)


def seconds(token: Token, low: float, high: float, what: str) -> Duration:
    """Return keepalived's TIMER: seconds with an optional fraction, to the microsecond, within low..high."""
    plain = _PLAIN_NUMBER.fullmatch(token.text) is not None and len(token.text) <= 24
    value = Decimal(token.text) if plain else Decimal(-1)
    if not plain or not Decimal(str(low)) <= value <= Decimal(str(high)):
        raise ConfigError(
            f"{what} is {token.text!r}",
            token.place,
            f"seconds from {low:g} to {high:g}, for example 1 or 0.5",
        )
    return int(value * _MICROSECONDS) * 1_000


def duration(token: Token, what: str) -> Duration:
    """Return a duration of haagent's own blocks: 2, 0.5, 2s, 500ms."""
    match = _DURATION.fullmatch(token.text)
    if match is None or len(token.text) > 24:
        raise ConfigError(f"{what} is {token.text!r}", token.place, "a time such as 2, 0.5, 2s or 500ms")
    value = int(Decimal(match.group(1)) * _UNITS[match.group(2) or "s"])
    if value <= 0:
        raise ConfigError(f"{what} is {token.text!r}", token.place, "a time greater than 0")
    return value


def boolean(tokens: list[Token], what: str) -> bool:
    """Return an optional BOOL: nothing means on."""
    if not tokens or tokens[0].text in ON:
        return True
    if tokens[0].text in OFF:
        return False
    raise ConfigError(
        f"{what} is {tokens[0].text!r}", tokens[0].place, "on, true, yes, off, false or no; nothing means on"
    )


def choice(token: Token, accepted: tuple[str, ...], what: str) -> str:
    """Return one of ``accepted``."""
    if token.text not in accepted:
        raise ConfigError(f"{what} is {token.text!r}", token.place, "one of " + ", ".join(accepted))
    return token.text


def address(token: Token, what: str) -> IPAddress:
    """Return an IPv4 or IPv6 address without a prefix length or zone."""
    try:
        found = ip_address(token.text)
    except ValueError:
        raise ConfigError(f"{what} is {token.text!r}", token.place, "an IPv4 or IPv6 address") from None
    if found.version == 6 and found.scope_id is not None:
        raise ConfigError(
            f"{what} {token.text!r} names a zone", token.place, "the address alone; its interface is known"
        )
    return found


def interface(token: Token, what: str = "interface") -> str:
    """Return a network interface's name: 1 to 15 bytes, no slash, no placeholder."""
    name = token.text
    bad = (
        not name or len(name.encode()) > 15 or name in (".", "..") or any(char in "/<>:$ \0" for char in name)
    )
    if bad:
        raise ConfigError(
            f"{what} is {name!r}", token.place, "the name of a network interface, at most 15 characters"
        )
    return name
