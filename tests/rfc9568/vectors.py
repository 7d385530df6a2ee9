"""The outside vectors, where they are at hand: packets, frames, timers and state tables nobody here produced.

They lie beside the checkout and are not part of it; tests over them are skipped, with a reason, without them.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from haagent.core.events import IPAddress
from haagent.core.packet import Discard, split_ipv4

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "vrrp-vectors"

Row = dict[str, Any]


def each(file: str, **kwargs: Any) -> pytest.MarkDecorator:
    """Parametrise over ``row``, one test per line of ``file``; one skipped test where the file is absent."""
    keep = kwargs.pop("keep", lambda row: True)
    rows = [row for row in load(file) if keep(row)]
    if not rows:
        absent = pytest.mark.skip(reason=f"vectors not at hand: {file}")
        return pytest.mark.parametrize("row", [pytest.param({}, marks=absent, id="absent")])
    return pytest.mark.parametrize("row", rows, ids=[_name(row, at) for at, row in enumerate(rows)])


def load(file: str) -> list[Row]:
    """Return the rows of a JSON Lines file, none if it is absent."""
    path = FOLDER / file
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _name(row: Row, at: int) -> str:
    return str(row.get("id") or f"{at:03}").replace("/", "-")


class Carried(NamedTuple):
    """A VRRP message and the IP header fields it came with."""

    family: int
    source: IPAddress
    destination: IPAddress
    ttl: int
    payload: bytes


def carried(frame: bytes) -> Carried | Discard | None:
    """Do for one Ethernet frame what the kernel does before a raw socket; None: nothing reaches the socket."""
    ethertype, packet = frame[12:14].hex(), frame[14:]
    if ethertype == "0800":
        split = split_ipv4(packet)
        return split if isinstance(split, Discard) else Carried(4, *split)
    if ethertype == "86dd" and len(packet) >= 40 and packet[6] == 112:
        length = int.from_bytes(packet[4:6])
        if 40 + length <= len(packet):
            source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
            return Carried(6, source, destination, packet[7], packet[40 : 40 + length])
    return None


def addresses(texts: list[str]) -> tuple[IPv4Address | IPv6Address, ...]:
    return tuple(ip_address(text) for text in texts)
