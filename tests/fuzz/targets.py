"""What is fuzzed: each target takes any bytes and raises if haagent does anything but answer or refuse.

A target also checks what the answer means: a dropped packet changes no state and says at most one thing, what was
accepted can be written and read again. Seeds are real messages, so that the search begins behind the first check.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from arbiters.quorum.acceptor import ForeignStateError
from arbiters.quorum.acceptor import decode as decode_state
from haagent.config.grammar import TABLES
from haagent.config.load import load
from haagent.config.messages import ConfigErrors
from haagent.control.endpoints import Response
from haagent.control.http import serve
from haagent.core.events import (
    AdvertisementReceived,
    LinkChanged,
    PacketDiscarded,
    PrimaryAddressChanged,
    Startup,
)
from haagent.core.frames import announced_address, gratuitous_arp, neighbor_advertisement
from haagent.core.group import GroupParameters
from haagent.core.instance import InstanceParameters
from haagent.core.node import Node
from haagent.core.packet import (
    MULTICAST_GROUP_4,
    MULTICAST_GROUP_6,
    Discard,
    Expectations,
    Packet,
    decode,
    encode,
    split_ipv4,
)
from haagent.core.parameters import NodeParameters
from haagent.core.records import BadRecord, ClaimRecord, SessionRecord
from haagent.core.session import SessionParameters
from haagent.core.units import MILLISECOND, SECOND, Now
from haagent.core.virtual_router import RouterParameters
from haagent.effects import peer_messages
from haagent.effects.peer_messages import Envelope, unseal

KEYWORDS = tuple(sorted({name for rows in TABLES.values() for name in rows} | {"{", "}", "@node1 ", "~SEQ("}))
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
KEY = b"k" * 32
NOW = Now(1_000 * SECOND, 1_000 * SECOND)
VIP4, VIP6 = IPv4Address("192.0.2.100"), IPv6Address("fe80::100")
PEER4, PEER6 = IPv4Address("192.0.2.2"), IPv6Address("fe80::2")


@dataclass(frozen=True)
class Target:
    """One entry. ``share`` is its part of a campaign; ``words`` a dictionary for the mutator; ``longest`` in bytes."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    share: int
    longest: int = 512
    words: tuple[str, ...] = ()


# -- adverts ----------------------------------------------------------------------------------------------------------

PROFILES = (
    Expectations(2, 51, SECOND, (VIP4,), MULTICAST_GROUP_4),
    Expectations(2, 51, SECOND, (VIP4,), MULTICAST_GROUP_4, auth=b"s3cret\0\0"),
    Expectations(3, 51, SECOND, (VIP4,), MULTICAST_GROUP_4),
    Expectations(3, 51, SECOND, (VIP6,), MULTICAST_GROUP_6, strict=True),
    Expectations(3, 51, SECOND, (VIP4,), IPv4Address("192.0.2.1"), peers=frozenset({PEER4})),
)
MEND = 0x80  # in the first byte: put a right checksum in, as a mutator cannot


def backup() -> Node:
    """Return a node that has just become BACKUP."""
    session = SessionParameters("n1", "1", "host", 3 * SECOND, SECOND, 20 * MILLISECOND)
    router = RouterParameters(3, 51, 100, SECOND)
    node = Node(
        NodeParameters(
            session,
            (InstanceParameters("VI_1", router, ("eth0",)),),
            (GroupParameters("VI_1", ("VI_1",)),),
            (),
            arbitrated=False,
        )
    )
    node.handle(LinkChanged("eth0", up=True), NOW)
    node.handle(PrimaryAddressChanged("VI_1", IPv4Address("192.0.2.1")), NOW)
    node.handle(Startup(), NOW)
    return node


NODE, LISTENER = backup(), backup()


def state(node: Node) -> tuple[object, ...]:
    """Return everything about the instance that an advert may change."""
    (instance,) = node.groups["VI_1"].members
    return instance.state, instance.router.state, instance.master, instance.heard_at, node.next_deadline()


def advert(data: bytes) -> None:
    """The codec: a verdict for anything, and what was dropped changes nothing."""
    if len(data) < 2:
        return
    expected = PROFILES[(data[0] & 0x7F) % len(PROFILES)]
    source: Any = PEER6 if expected.destination.version == 6 else PEER4
    message = _mended(data[2:], expected, source) if data[0] & MEND else data[2:]
    found = decode(
        message,
        family=6 if expected.destination.version == 6 else 4,
        source=source,
        destination=expected.destination,
        ttl=255 - (data[1] == 0),
        expectations=expected,
    )
    before = state(NODE)
    if isinstance(found, Discard):
        said = NODE.handle(PacketDiscarded("VI_1", str(source), found), NOW)
        assert state(NODE) == before, "a dropped packet changed something"
        assert len(said) <= 1, said
        return
    assert isinstance(found, Packet)
    again = encode(found, source=source, destination=expected.destination)
    assert len(again) <= len(message) + 8
    LISTENER.handle(
        AdvertisementReceived("VI_1", source, found.priority, found.interval, found.addresses), NOW
    )
    assert LISTENER.next_deadline() is not None


def _mended(message: bytes, expected: Expectations, source: Any) -> bytes:
    """Return the message with the checksum a sender would have put in."""
    if len(message) < 8:
        return message
    body = message[:6] + b"\0\0" + message[8:]
    covered = body if expected.version == 3 else body[:-8]
    pseudo = b""
    if expected.version == 3:
        pseudo = source.packed + expected.destination.packed + len(body).to_bytes(4, "big") + b"\0\0\0\x70"
    total = sum(
        int.from_bytes((pseudo + covered + b"\0")[at : at + 2], "big")
        for at in range(0, len(pseudo + covered), 2)
    )
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return body[:6] + (~total & 0xFFFF).to_bytes(2, "big") + body[8:]


def advert_seeds() -> list[bytes]:
    seeds = []
    for number, expected in enumerate(PROFILES):
        source: Any = PEER6 if expected.destination.version == 6 else PEER4
        packet = Packet(expected.version, 51, 120, expected.interval, expected.addresses, auth=expected.auth)
        seeds.append(bytes((number, 1)) + encode(packet, source=source, destination=expected.destination))
        seeds.append(bytes((number | MEND, 1)) + seeds[-1][2:])
    return seeds


def ipv4(data: bytes) -> None:
    """A datagram as a raw socket delivers it."""
    split_ipv4(data)


def ipv4_seeds() -> list[bytes]:
    header = bytes.fromhex("45c0002400010000ff70") + b"\0\0" + PEER4.packed + MULTICAST_GROUP_4.packed
    return [header + advert_seeds()[0][2:]]


def frame(data: bytes) -> None:
    """An ARP or ND frame as the doubt's packet socket delivers it."""
    announced_address(data)


def frame_seeds() -> list[bytes]:
    mac = bytes.fromhex("00005e000133")
    return [gratuitous_arp(VIP4, mac), neighbor_advertisement(VIP6, mac, router=True)]


# -- what other nodes and stores say ----------------------------------------------------------------------------------


def peer(data: bytes) -> None:
    """A peer's datagram: as it came, and as if its sender had the key."""
    unseal(data, KEY)
    sealed = peer_messages._HEAD + hmac.digest(KEY, peer_messages._HEAD + data, sha256) + data
    found = unseal(sealed, KEY)
    if isinstance(found, Envelope):
        assert unseal(peer_messages.seal(found, KEY), KEY) == found


def peer_seeds() -> list[bytes]:
    fields = {
        "from": "n2",
        "to": "n1",
        "channel": "c1",
        "toward": "c2",
        "number": 7,
        "sent": 12,
        "echo": [6, 11, 1],
    }
    ask = {"node": "n2", "incarnation": "i", "number": 3, "claims": ["web"], "lease": 3, "epochs": {"web": 4}}
    reply = {"node": "n1", "incarnation": "j", "number": 3, "refusal": None}
    return [json.dumps({**fields, **more}).encode() for more in ({}, {"ask": ask}, {"answer": reply})]


def record(data: bytes) -> None:
    """A register's value: a record or BadRecord; a record reads as it was written."""
    for kind in (SessionRecord, ClaimRecord):
        try:
            found: Any = kind.decode(data)
        except BadRecord:
            continue
        assert kind.decode(found.encode()) == found


def record_seeds() -> list[bytes]:
    session = {"node": "n1", "incarnation": "i", "seq": 1, "lease": 3, "renew": 1, "host": "h", "by": "x"}
    claim = {"epoch": 4, "holder": {"node": "n1", "incarnation": "i"}, "by": "y", "bid": None}
    return [json.dumps(one).encode() for one in (session, {**session, "electors": ["n1"]}, claim)]


def quorum(data: bytes) -> None:
    """What a member of a quorum stores."""
    try:
        found = decode_state(data, 3)
    except ForeignStateError:
        return
    assert decode_state(found.encode(), 3) == found


def quorum_seeds() -> list[bytes]:
    header = {"quorum": 3, "promised": "4.n1", "accepted": "3.n2", "version": "3.n2", "before": ["1.n1"]}
    return [json.dumps(header).encode() + b"\nvalue", b'{"quorum": 5, "promised": "1.n1"}\n']


# -- what operators and programs send ---------------------------------------------------------------------------------

_FILE = Path(tempfile.gettempdir()) / f"haagent-fuzz-{os.getpid()}.conf"


def configuration(data: bytes) -> None:
    """A configuration file: a configuration or errors, each with a place."""
    text = data.replace(b"include", b"exclude").replace(b"_file", b"-file")  # no files of this machine
    _FILE.write_bytes(text)
    try:
        load([_FILE], config_id="node1", environ={})
    except ConfigErrors as errors:
        assert errors.errors
    finally:
        _FILE.unlink()


def configuration_seeds() -> list[bytes]:
    corpus = SHARED / "keepalived-corpus"
    own = Path(__file__).resolve().parents[2] / "docs" / "examples"
    files = [*own.rglob("*.conf"), *(corpus.glob("*.conf") if corpus.is_dir() else ())]
    return [file.read_bytes() for file in sorted(files) if file.stat().st_size < 3000]


def http(data: bytes) -> None:
    """A request to the HTTP endpoints."""
    asyncio.run(_ask(data))


class _Sink:
    """The writing side of a connection: keeps how much was written."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    async def drain(self) -> None:
        return


async def _ask(data: bytes) -> None:
    reader, sink = asyncio.StreamReader(), _Sink()
    reader.feed_data(data)
    reader.feed_eof()

    async def respond(target: str) -> Response:
        return Response(HTTPStatus.OK, target)

    await serve(reader, sink, respond)  # type: ignore[arg-type]
    assert sink.written < 2 * len(data) + 1000


def http_seeds() -> list[bytes]:
    return [b"GET /primary/web HTTP/1.1\r\nHost: x\r\n\r\n", b"OPTIONS /primary HTTP/1.0\r\n\r\n"]


TARGETS = {
    "advert": Target(advert, advert_seeds, 600),
    "ipv4": Target(ipv4, ipv4_seeds, 150),
    "frame": Target(frame, frame_seeds, 100),
    "peer": Target(peer, peer_seeds, 60),
    "record": Target(record, record_seeds, 50),
    "quorum": Target(quorum, quorum_seeds, 30),
    "configuration": Target(configuration, configuration_seeds, 8, longest=3000, words=KEYWORDS),
    "http": Target(http, http_seeds, 2),
}
