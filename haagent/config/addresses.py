"""The lines of virtual_ipaddress and virtual_ipaddress_excluded, in the words of ``ip address add``.

Promise: an address that cannot be understood is an error (keepalived drops it and goes on without). Addresses of
another family than the instance's, and duplicates, are left out with a warning, as keepalived leaves them out; so are
options that do not fit their address (a label of IPv6, a broadcast address beside a peer).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_interface

from haagent.config.lexer import Token
from haagent.config.messages import Messages
from haagent.config.network_model import IPAddress, VirtualAddress
from haagent.config.routing import NO_TRACK_GROUP, SCOPES, named
from haagent.config.tree import Statement
from haagent.config.values import address, interface
from haagent.errors import ConfigError

_VALUED = frozenset({"dev", "label", "scope", "brd", "broadcast", "peer", "preferred_lft", "track_group"})
_KERNEL_FLAGS = ("home", "mngtmpaddr", "noprefixroute", "autojoin")
_FLAGS = frozenset({"no_track", "-nodad", "use_vmac", *_KERNEL_FLAGS})
_LONGEST_WITH_BROADCAST = 30


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
            one = _read_address(line, device, messages)
        except ConfigError as error:
            messages.add(error)
            continue
        if one.address in found:
            messages.warning(f"address {one.address} is given twice; the first one counts", line.place)
        found.setdefault(one.address, one)
    return list(found.values())


def _read_address(line: Statement, device: str, messages: Messages) -> VirtualAddress:
    ip, length = _interface_address(line.words[0])
    options = _options(line, messages)
    values = options.values
    if "peer" in values:
        length = _beside_peer(values, ip, length, messages)
    _drop_unfitting(values, ip, length, messages)
    label = values.get("label")
    if label is not None and len(label.text.encode()) > 15:
        raise ConfigError(f"label {label.text!r} is too long", label.place, "at most 15 characters")
    return VirtualAddress(
        address=ip,
        prefix_length=length,
        device=interface(values["dev"], "dev") if "dev" in values else device,
        label=label.text if label else None,
        scope=_scope(values["scope"]) if "scope" in values else None,
        broadcast=_broadcast(values["brd"]) if "brd" in values else None,
        peer=str(_alone(values["peer"], ip.version, "peer")) if "peer" in values else None,
        preferred_lifetime=_preferred(values.get("preferred_lft"), ip, length),
        nodad="-nodad" not in options.flags,
        no_track="no_track" in options.flags,
        own_mac="use_vmac" in options.flags,
        flags=tuple(_flags(line, options, ip, length, messages)),
    )


def _flags(
    line: Statement, options: _Options, ip: IPAddress, length: int, messages: Messages
) -> Iterator[str]:
    """Yield the flags for the kernel, without those it would refuse the whole address for."""
    for name in _KERNEL_FLAGS:
        if name not in options.flags:
            continue
        if (name == "mngtmpaddr" and (ip.version == 4 or length != 64)) or (
            name == "autojoin" and not ip.is_multicast
        ):
            what = "IPv6 with /64" if name == "mngtmpaddr" else "a multicast address"
            messages.warning(f"{name} of {ip} is left out: it is for {what}", line.place)
            continue
        yield name


def _beside_peer(values: dict[str, Token], ip: IPAddress, length: int, messages: Messages) -> int:
    """Return the length of an address with a peer: it is a whole address. A peer with a length is left out."""
    peer = values["peer"]
    if "/" in peer.text:
        del values["peer"]
        messages.warning(f"peer of {ip} is left out: a peer has no /LENGTH", peer.place, "peer ADDRESS")
        return length
    if length != ip.max_prefixlen:
        messages.warning(f"/{length} of {ip} is left out: an address with a peer has no /LENGTH", peer.place)
    return ip.max_prefixlen


def _drop_unfitting(values: dict[str, Token], ip: IPAddress, length: int, messages: Messages) -> None:
    """Leave out, with a warning, what keepalived leaves out."""
    broadcast = values.get("brd")
    if ip.version == 6:
        if broadcast is not None:
            raise ConfigError("brd is for IPv4 addresses", broadcast.place)
        unfitting = dict.fromkeys(("label", "scope"), "it is for IPv4 addresses")
    elif "peer" in values:
        unfitting = {"brd": "the address has a peer"}
    elif broadcast is not None and broadcast.text in ("+", "-") and length > _LONGEST_WITH_BROADCAST:
        unfitting = {"brd": f"a /{length} has no broadcast address"}
    else:
        return
    for name, why in unfitting.items():
        if name in values:
            messages.warning(f"{name} of {ip} is left out: {why}", values.pop(name).place)


def _options(line: Statement, messages: Messages) -> _Options:
    """Return the words after an address. An unknown word is an error: it may be a second address, lost otherwise."""
    options = _Options({}, set())
    words = iter(line.values)
    for word in words:
        name = word.text
        if name == "track_group":
            messages.warning(NO_TRACK_GROUP, word.place, once=name)
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
    return token.text if token.text in ("+", "-") else str(_alone(token, 4, "brd"))


def _alone(token: Token, version: int, what: str) -> IPAddress:
    """Return an address of this IP version without a length."""
    found = address(token, what)
    if found.version != version:
        raise ConfigError(f"{what} is {token.text!r}", token.place, f"an IPv{version} address")
    return found


def _scope(token: Token) -> str:
    """Return a scope that the kernel knows, as it is written."""
    named(token, SCOPES, 255, "scope")
    return token.text


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
