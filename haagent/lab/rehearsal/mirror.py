"""The other nodes that one node's file implies. Pure.

A partner has the same blocks; its priorities are 10 lower per node (higher where there is no room below), its
unicast source is one of the first node's peers, and the first node is among its peers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from haagent.config.tree import Statement
from haagent.config.writing import statement, with_block

STEP = 10
MOST_PARTNERS = 2
_ADDRESSED = ("unicast_src_ip", "mcast_src_ip")


def partners(statements: Sequence[Statement]) -> int:
    """Return how many partners the file speaks of: in its peers block, as unicast peers, else one."""
    listed = len(peer_names(statements)) - 1
    most = max((listed, *(len(_peers(one)) for one in _instances(statements))))
    return min(max(most, 1), MOST_PARTNERS)


def peer_names(statements: Iterable[Statement]) -> list[str]:
    """Return the nodes that the peers block names, in its order."""
    blocks = [one.block or [] for one in statements if one.keyword == "peers"]
    lines = [line for block in blocks for line in block if line.keyword == "node" and line.values]
    return [line.values[0].text for line in lines]


def mirrored(statements: Sequence[Statement], count: int) -> list[list[Statement]]:
    """Return the statements of ``count`` partners."""
    return [[_mirror(one, number) for one in statements] for number in range(1, count + 1)]


def _instances(statements: Iterable[Statement]) -> list[Statement]:
    return [one for one in statements if one.keyword == "vrrp_instance"]


def _peers(instance: Statement) -> list[str]:
    blocks = [one.block or [] for one in instance.block or [] if one.keyword == "unicast_peer"]
    return [line.keyword for block in blocks for line in block]


def _source(instance: Statement) -> str | None:
    found = [one for one in instance.block or [] if one.keyword in _ADDRESSED and one.values]
    return found[-1].values[0].text if found else None


def _beside(peers: Sequence[str], instance: Statement) -> str | None:
    """Return an address for a first node that names none: the next free one after its first peer."""
    if not peers:
        return None
    taken = {
        *peers,
        *(line.keyword.partition("/")[0] for one in instance.block or [] for line in one.block or []),
    }
    try:
        first = ip_address(peers[0])
    except ValueError:
        return None
    return next(str(first + step) for step in range(1, 256) if str(first + step) not in taken)


def _mirror(one: Statement, number: int) -> Statement:
    if one.keyword == "haagent" and one.block is not None:
        return with_block(one, [inner for inner in one.block if inner.keyword != "node"])
    if one.keyword != "vrrp_instance" or one.block is None:
        return one
    peers = _peers(one)
    source = _source(one) or _beside(peers, one)
    own = peers[number - 1] if number <= len(peers) else None
    inner = [made for line in one.block if (made := _line(line, number, own, peers, source)) is not None]
    if not any(line.keyword == "priority" for line in one.block):
        inner.append(statement(f"priority {_lower(100, number)}"))
    if own is not None and not any(line.keyword in _ADDRESSED for line in one.block):
        inner.append(statement(f"unicast_src_ip {own}"))
    return with_block(one, inner)


def _line(
    line: Statement, number: int, own: str | None, peers: Sequence[str], source: str | None
) -> Statement | None:
    """Return the partner's line for one of the first node's; None: it has none."""
    if line.keyword == "state":
        return statement("state BACKUP")
    if line.keyword == "priority" and line.values and line.values[0].text.isdigit():
        return statement(f"priority {_lower(int(line.values[0].text), number)}")
    if line.keyword in _ADDRESSED:
        return None if own is None else statement(f"{line.keyword} {own}")
    if line.keyword == "unicast_peer" and line.block is not None and own is not None and source is not None:
        others = [source, *(peer for peer in peers if peer != own)]
        return with_block(line, [statement(other) for other in others])
    return line


def _lower(priority: int, number: int) -> int:
    lower = min(priority, 254) - STEP * number
    return lower if lower >= 1 else min(254, priority + STEP * number)
