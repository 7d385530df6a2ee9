"""virtual_routes, virtual_rules and their static siblings, in the words of ``ip route add`` and ``ip rule add``.

Promise: a line with a word that is not understood is left out as a whole, with a warning, for half a route may lead
somewhere else. It is no error: a route alone never decides who is MASTER. Names of tables and realms are read from the host's iproute2 files, as ip(8) reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import TypeVar

from haagent.config.grammar import TABLES as KEYWORDS
from haagent.config.lexer import Token
from haagent.config.messages import Messages
from haagent.config.network_model import IPNetwork, NextHop, Route, Rule
from haagent.config.route_metrics import METRICS, read_metric
from haagent.config.tree import Statement
from haagent.config.values import address, integer, interface
from haagent.errors import ConfigError

TYPES = {
    "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5,
    "blackhole": 6, "unreachable": 7, "prohibit": 8, "throw": 9, "nat": 10,
}  # fmt: skip
WITHOUT_DEVICE = frozenset({"blackhole", "unreachable", "prohibit", "throw"})
SCOPES = {"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
TABLES = {"unspec": 0, "default": 253, "main": 254, "local": 255}
RULE_PRIORITY = 16384
_DIRECTORIES = ("/etc/iproute2", "/usr/share/iproute2", "/usr/lib/iproute2")
_TABLE_FILES = tuple(f"{directory}/rt_tables" for directory in _DIRECTORIES)
_REALM_FILES = tuple(f"{directory}/rt_realms" for directory in _DIRECTORIES)
NO_TRACK_GROUP = f"track_group is not supported: {KEYWORDS['top']['track_group'].remark}"
_EVERYWHERE = frozenset({"no_track", "track_group", "proto", "protocol"})
_PREFERENCES = {"low": 3, "medium": 0, "high": 1}  # as ICMPv6 has them
_LARGEST = 2**32 - 1
T = TypeVar("T")


class _Words:
    """The words of one line, taken one by one."""

    def __init__(self, line: Statement) -> None:
        self._words = list(line.words)
        self.place = line.place

    def __bool__(self) -> bool:
        return bool(self._words)

    def next(self, after: str = "") -> Token:
        """Return the next word. Raises ConfigError if there is none."""
        if not self._words:
            raise ConfigError(f"{after} is missing its value", self.place)
        return self._words.pop(0)

    def peek(self) -> str:
        """Return the text of the next word, "" at the end."""
        return self._words[0].text if self._words else ""


def read_routes(lines: Iterable[Statement], messages: Messages) -> tuple[Route, ...]:
    """Return the routes of one block."""
    return tuple(_readable(lines, _read_route, messages))


def read_rules(lines: Iterable[Statement], messages: Messages) -> tuple[Rule, ...]:
    """Return the rules of one block; one without a priority gets 16384, as in keepalived, and a warning."""
    rules = tuple(_readable(lines, _read_rule, messages))
    for rule in rules:
        if rule.priority is None:
            messages.warning(f"rule {rule.text!r} has no priority; it is {RULE_PRIORITY}", rule.place)
    return rules


def _readable(
    lines: Iterable[Statement], read: Callable[[Statement, Messages], T], messages: Messages
) -> Iterator[T]:
    for line in lines:
        try:
            if line.block is not None:
                raise ConfigError(f"unexpected block after {line.keyword!r}", line.place, "one entry a line")
            yield read(line, messages)
        except ConfigError as error:
            messages.warning(f"{error.message}: the line is left out", error.place, error.remedy)


def _text(line: Statement) -> str:
    return " ".join(word.text for word in line.words)


def _read_route(line: Statement, messages: Messages) -> Route:
    words = _Words(line)
    found: dict[str, object] = {}
    hops: list[NextHop] = []
    while words:
        word = words.next()
        if word.text == "nexthop":
            hops.append(_next_hop(words))
        else:
            _route_option(word, words, found, messages)
    if "destination" not in found:
        raise ConfigError(
            f"route {_text(line)!r} has no destination", line.place, "DESTINATION via ADDRESS ..."
        )
    if "second" in found:  # an old word for two ways
        gateways = (str(found.pop("gateway", "")), str(found.pop("second")))
        device = found.get("device")
        hops += [NextHop(one, device if isinstance(device, str) else None) for one in gateways if one]
        found.pop("device", None)
    return _complete(Route(text=_text(line), place=line.place, next_hops=tuple(hops), **found), line)  # type: ignore[arg-type]


def _route_option(word: Token, words: _Words, found: dict[str, object], messages: Messages) -> None:
    name = word.text
    if name in ("inet", "inet6"):
        found["family"] = 4 if name == "inet" else 6
    elif name in TYPES:
        found["kind"] = name
    elif name == "to":
        found["destination"] = _network(words.next("to"))
    elif name == "default6":
        found["family"], found["destination"] = 6, None
    elif name == "or":
        found["second"] = str(address(words.next(name), name))
    elif name in ("via", "gw"):
        if words.peek() in ("inet", "inet6"):
            words.next()
        found["gateway"] = address(words.next(name), name)
    elif name in ("dev", "oif"):
        found["device"] = interface(words.next(name), name)
    elif name in ("src", "from"):
        found["source" if name == "src" else "from_network"] = (
            address(words.next(name), name) if name == "src" else _network(words.next(name))
        )
    elif name == "table":
        found["table"] = _table(words.next(name))
    elif name in ("metric", "priority", "preference"):
        found["metric"] = integer(words.next(name), 0, _LARGEST, name)
    elif name == "scope":
        found["scope"] = named(words.next(name), SCOPES, 255, name)
    elif name in ("tos", "dsfield"):
        found["tos"] = _tos(words.next(name))
    elif name == "onlink":
        found["onlink"] = True
    elif name in METRICS:
        _metric(name, words, found)
    elif name == "realms":
        found["family"], found["realms"] = 4, _realms(words.next(name))
    elif name == "pref":
        found["family"], found["preference"] = 6, named(words.next(name), _PREFERENCES, 255, name)
    elif name in ("add", "prepend", "append"):
        # "add" minds routes to the same place, and so is not for a failover
        found["append"] = name == "append"
    elif name in _EVERYWHERE:
        _everywhere(word, words, found, messages)
    elif "destination" not in found:
        found["destination"] = _network(word)
    else:
        raise ConfigError(
            f"{name!r} in a route",
            word.place,
            "via dev src table metric scope onlink tos mtu advmss nexthop no_track ...",
        )


def _everywhere(word: Token, words: _Words, found: dict[str, object], messages: Messages) -> None:
    """Take a word that routes and rules have in common."""
    if word.text == "no_track":
        found["no_track"] = True
    elif word.text == "track_group":
        words.next(word.text)
        messages.warning(NO_TRACK_GROUP, word.place, once=word.text)
    else:
        words.next(word.text)
        messages.note(
            "the protocol of routes and rules is always 18, keepalived's", word.place, once="route protocol"
        )


def _metric(name: str, words: _Words, found: dict[str, object]) -> None:
    value, locked = read_metric(name, words.next)
    metrics, names = found.setdefault("metrics", ()), found.setdefault("locked", ())
    assert isinstance(metrics, tuple)
    assert isinstance(names, tuple)
    found["metrics"] = (*metrics, (name, value))
    found["locked"] = (*names, name) if locked else names


def _realms(token: Token) -> int:
    """Return ``[FROM/]TO`` as the kernel has it; names are of the host's rt_realms."""
    names = dict(_host_names(_REALM_FILES))
    first, slash, second = token.text.partition("/")
    parts = [
        named(token._replace(text=text), names, 65535, "realms")
        for text in (first, second)[: 1 + bool(slash)]
    ]
    return parts[0] if len(parts) == 1 else parts[0] << 16 | parts[1]


def _next_hop(words: _Words) -> NextHop:
    """Return the values of ``nexthop via A [dev IF] [weight N] [onlink]``."""
    gateway, device, weight, onlink = "", None, 1, False
    while words.peek() in ("via", "dev", "weight", "onlink"):
        word = words.next()
        match word.text:
            case "via":
                if words.peek() in ("inet", "inet6"):
                    words.next()
                gateway = str(address(words.next("via"), "via"))
            case "onlink":
                onlink = True
            case "dev":
                device = interface(words.next("dev"), "dev")
            case "weight":
                weight = integer(words.next("weight"), 1, 256, "weight")
    if words.peek() in ("realms", "encap"):  # of this hop alone; on the route it would mean something else
        raise ConfigError(f"{words.peek()!r} in a nexthop", words.place, "via dev weight onlink")
    if not gateway and not device:
        raise ConfigError("nexthop leads nowhere", words.place, "nexthop via ADDRESS [dev IF] [weight N]")
    return NextHop(gateway, device, weight, onlink)


def _complete(route: Route, line: Statement) -> Route:
    """Check what no single word can tell."""
    if route.kind not in WITHOUT_DEVICE and not (route.gateway or route.device or route.next_hops):
        raise ConfigError(f"route {route.text!r} leads nowhere", line.place, "say via ADDRESS or dev IF")
    families = {one.version for one in (route.destination, route.gateway, route.source) if one is not None}
    if len(families) > 1 and not (route.gateway and len(families - {route.gateway.version}) == 1):
        raise ConfigError(f"route {route.text!r} mixes IPv4 and IPv6", line.place)
    return route


def _read_rule(line: Statement, messages: Messages) -> Rule:
    words = _Words(line)
    found: dict[str, object] = {}
    while words:
        word = words.next()
        if word.text in _EVERYWHERE:
            _everywhere(word, words, found, messages)
        else:
            _rule_option(word, words, found)
    if "realms" in found and "action" not in found:
        found.setdefault("table", TABLES["main"])
    rule = Rule(text=_text(line), place=line.place, **found)  # type: ignore[arg-type]
    if rule.action == "table" and rule.table is None and not rule.l3mdev:
        raise ConfigError(
            f"rule {rule.text!r} says nothing to do", line.place, "table NAME, goto N, blackhole ..."
        )
    return rule


def _rule_option(word: Token, words: _Words, found: dict[str, object]) -> None:
    name = word.text
    if name in ("inet", "inet6"):
        found["family"] = 4 if name == "inet" else 6
    elif name == "not":
        found["inverted"] = True
    elif name in ("from", "to"):
        value = words.next(name)
        found["from_network" if name == "from" else "to_network"] = _network(value)
    elif name in ("table", "lookup"):
        found["table"] = _table(words.next(name))
    elif name in ("priority", "preference", "order", "pref"):
        found["priority"] = integer(words.next(name), 0, _LARGEST, name)
    elif name in ("iif", "dev", "oif"):
        found["output" if name == "oif" else "input"] = interface(words.next(name), name)
    elif name == "fwmark":
        found["mark"], found["mask"] = _mark(words.next(name))
    elif name in ("tos", "dsfield"):
        found["tos"] = _tos(words.next(name))
    elif name in ("suppress_prefixlength", "sup_pl"):
        found["suppress_length"] = integer(words.next(name), 0, 128, name)
    elif name in ("suppress_ifgroup", "sup_group"):
        found["suppress_group"] = integer(words.next(name), 0, _LARGEST, name)
    elif name == "realms":
        found["family"], found["realms"] = 4, _realms(words.next(name))
    elif name == "tunnel-id":
        found["tunnel"] = integer(words.next(name), 1, _LARGEST, name)
    elif name == "l3mdev":
        found["l3mdev"] = True
    elif name == "uidrange":
        found["uids"] = _range(words.next(name), _LARGEST)
    elif name == "ipproto":
        found["ip_protocol"] = named(
            words.next(name), {"icmp": 1, "tcp": 6, "udp": 17, "vrrp": 112}, 255, name
        )
    elif name in ("sport", "dport"):
        found[name] = _range(words.next(name), 65535)
    elif name == "goto":
        found["action"], found["goto"] = "goto", integer(words.next(name), 0, _LARGEST, name)
    elif name in ("nop", "blackhole", "unreachable", "prohibit"):
        found["action"] = name
    elif name not in ("type", "unicast"):
        raise ConfigError(
            f"{name!r} in a rule",
            word.place,
            "from to table priority iif oif fwmark tos uidrange ipproto sport dport ...",
        )


def _network(token: Token) -> IPNetwork | None:
    """Return a destination; None is any, of the family the rest of the line has."""
    if token.text in ("default", "any", "all"):
        return None
    try:
        return ip_network(token.text, strict=False)
    except ValueError:
        raise ConfigError(
            f"{token.text!r} is no network", token.place, "ADDRESS, ADDRESS/LENGTH or default"
        ) from None


def _table(token: Token) -> int:
    return named(token, {**TABLES, **dict(_host_names(_TABLE_FILES))}, _LARGEST, "table")


def _host_names(files: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield the names that iproute2's files give numbers."""
    for file in files:
        try:
            lines = Path(file).read_text(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            words = line.partition("#")[0].split()
            if len(words) == 2 and words[0].isdigit():
                yield words[1], int(words[0])


def named(token: Token, names: dict[str, int], most: int, what: str) -> int:
    """Return a number within 0..most, or what a name stands for. Raises ConfigError."""
    if token.text in names:
        return names[token.text]
    try:
        return integer(token, 0, most, what)
    except ConfigError:
        raise ConfigError(
            f"{what} is {token.text!r}", token.place, f"a number, or one of {', '.join(sorted(names))}"
        ) from None


def _hexadecimal(token: Token, text: str, most: int, what: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise ConfigError(
            f"{what} is {token.text!r}", token.place, f"a number from 0 to {most}, also as 0x..."
        )
    return value


def _tos(token: Token) -> int:
    text = token.text if token.text.startswith("0x") else f"0x{token.text}"
    return _hexadecimal(token, text, 255, "tos")


def _mark(token: Token) -> tuple[int, int]:
    mark, _, mask = token.text.partition("/")
    whole = _hexadecimal(token, mask, _LARGEST, "fwmark") if mask else _LARGEST
    return _hexadecimal(token, mark, _LARGEST, "fwmark"), whole


def _range(token: Token, most: int) -> tuple[int, int]:
    low, _, high = token.text.partition("-")
    if not (low.isdigit() and (high.isdigit() or not high) and int(low) <= int(high or low) <= most):
        raise ConfigError(f"{token.text!r} is no range", token.place, f"N or N-M, at most {most}")
    return int(low), int(high or low)
