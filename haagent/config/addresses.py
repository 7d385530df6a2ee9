"""The lines of virtual_ipaddress and virtual_ipaddress_excluded, in the words of ``ip address add``.

Promise: an address that cannot be understood is an error (keepalived drops it and goes on without). Addresses of
another family than the instance's, and duplicates, are left out with a warning, as keepalived leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_interface

from haagent.config.lexer import Token
from haagent.config.messages import Messages
from haagent.config.model import IPAddress, VirtualAddress
from haagent.config.tree import Statement
from haagent.config.values import interface
from haagent.errors import ConfigError

_VALUED = frozenset({"dev", "label", "scope", "brd", "broadcast", "peer", "preferred_lft", "track_group"})
_FLAGS = frozenset({"no_track", "-nodad", "home", "mngtmpaddr", "noprefixroute", "autojoin", "use_vmac"})
_NOT_SET = frozenset({"home", "mngtmpaddr", "noprefixroute", "autojoin", "track_group"})


@dataclass(slots=True)
class _Options:
    values: dict[str, Token]
    flags: set[str]


def read_addresses(lines: Iterable[Statement], device: str, messages: Messages) -> list[VirtualAddress]:
    """Return the addresses of one block, without duplicates; ``device`` is where those without ``dev`` go."""
    found: dict[IPAddress, VirtualAddress] = {}
    for line in lines:
        if line.block is not None:
            messages.error(f"unexpected block after {line.keyword!r}", line.place, "one address a line")
            continue
        try:
            address = _read_address(line, device, messages)
        except ConfigError as error:
            messages.add(error)
            continue
        if address.address in found:
            messages.warning(f"address {address.address} is given twice; the first one counts", line.place)
        found.setdefault(address.address, address)
    return list(found.values())


def _read_address(line: Statement, device: str, messages: Messages) -> VirtualAddress:
    parsed = _interface_address(line.words[0])
    ip = parsed[0]
    options = _options(line, messages)
    values = options.values
    for name in ("label", "scope", "brd"):
        if name in values and ip.version == 6:
            raise ConfigError(f"{name} is for IPv4 addresses", values[name].place)
    label = values.get("label")
    if label is not None and len(label.text.encode()) > 15:
        raise ConfigError(f"label {label.text!r} is too long", label.place, "at most 15 characters")
    return VirtualAddress(
        address=ip,
        prefix_length=parsed[1],
        device=interface(values["dev"], "dev") if "dev" in values else device,
        label=label.text if label else None,
        scope=values["scope"].text if "scope" in values else None,
        broadcast=_broadcast(values["brd"]) if "brd" in values else None,
        peer=str(_interface_address(values["peer"])[0]) if "peer" in values else None,
        preferred_lifetime=_preferred(values.get("preferred_lft"), ip, parsed[1]),
        nodad="-nodad" not in options.flags,
        no_track="no_track" in options.flags,
        own_mac="use_vmac" in options.flags,
    )


def _options(line: Statement, messages: Messages) -> _Options:
    """Return the words after an address. An unknown word is an error: it may be a second address, lost otherwise."""
    options = _Options({}, set())
    words = iter(line.values)
    for word in words:
        name = word.text
        if name in _NOT_SET:
            messages.warning(f"{name} is not set on the address", word.place, once=f"address {name}")
        if name in _FLAGS:
            options.flags.add(name)
            continue
        if name not in _VALUED:
            raise ConfigError(
                f"{name!r} after {line.keyword}", word.place, f"one of {', '.join(sorted(_VALUED | _FLAGS))}"
            )
        value = next(words, None)
        if value is None:
            raise ConfigError(f"{name} is missing its value", word.place)
        options.values["brd" if name == "broadcast" else name] = value
    return options


def _interface_address(token: Token) -> tuple[IPAddress, int]:
    try:
        found = ip_interface(token.text)
    except ValueError:
        raise ConfigError(
            f"address is {token.text!r}", token.place, "an IPv4 or IPv6 address, with /LENGTH or without"
        ) from None
    if "%" in token.text or ("/" in token.text and not token.text.rpartition("/")[2].isdigit()):
        raise ConfigError(f"address is {token.text!r}", token.place, "ADDRESS or ADDRESS/LENGTH")
    return found.ip, found.network.prefixlen


def _broadcast(token: Token) -> str:
    return token.text if token.text in ("+", "-") else str(_interface_address(token)[0])


def _preferred(token: Token | None, ip: IPAddress, length: int) -> int | None:
    """Return seconds; None is forever. An IPv6 /128 is deprecated at once, so that it is not used as a source."""
    if token is None:
        return 0 if ip.version == 6 and length == 128 else None
    if token.text == "forever":
        return None
    digits = token.text.isascii() and token.text.isdigit() and len(token.text) <= 10
    if not digits or int(token.text) >= 2**32:
        raise ConfigError(f"preferred_lft is {token.text!r}", token.place, "seconds, or forever")
    return int(token.text)
