"""The peer channel: what is on the wire, what is fresh, what the clocks say; sockets on the loopback interface."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haagent.config.model import Peer
from haagent.config.model import Peers as PeersConfig
from haagent.core.actions import SendToPeer
from haagent.core.events import ClockDoubted, PeerHeard
from haagent.core.failsafe import PromiseReply, PromiseRequest
from haagent.core.records import Holder
from haagent.core.reports import Noticed, Report
from haagent.core.units import MILLISECOND, SECOND, Instant
from haagent.effects.peer_link import (
    GREETING_PAUSE,
    MOST_GREETED,
    REORDERED,
    TOLERANCE,
    Accepted,
    Link,
    OutsideTime,
)
from haagent.effects.peer_messages import LARGEST, Discard, Echo, Envelope, check_key, seal, unseal
from haagent.effects.peers import PeerEvent, Peers
from haagent.errors import ConfigError

KEY = b"0123456789abcdef"
HOLDER = Holder("a", "i1")
ASK = PromiseRequest(HOLDER, 7, ("VI_1", "VI_2"), SECOND, (3, 4))
GRANT = PromiseReply(HOLDER, 7, "")
HELLO = Envelope("a", "b", "c1", "c2", 3, 5 * SECOND)

# -- messages


@pytest.mark.parametrize(
    "envelope",
    [
        HELLO,
        replace(HELLO, body=ASK),
        replace(HELLO, body=GRANT, echo=Echo(1, 2, 3)),
        replace(HELLO, body=replace(GRANT, refusal="holds it itself")),
    ],
)
def test_what_is_sealed_is_read_as_it_was(envelope: Envelope) -> None:
    assert unseal(seal(envelope, KEY), KEY) == envelope


def test_no_field_of_a_message_is_forgotten() -> None:
    """A field that the wire does not carry would come back as its default."""
    for message in (ASK, replace(GRANT, refusal="why")):
        for field in fields(message):
            assert getattr(message, field.name) not in (field.default, "", 0, ()), field.name
        envelope = unseal(seal(replace(HELLO, body=message), KEY), KEY)
        assert isinstance(envelope, Envelope)
        assert envelope.body == message


@given(st.binary(max_size=300))
def test_random_bytes_are_never_a_message(data: bytes) -> None:
    assert isinstance(unseal(data, KEY), Discard)
    assert isinstance(unseal(b"HAP\x01" + data, KEY), Discard)


@given(st.integers(0), st.integers(1, 255))
def test_every_single_byte_counts(at: int, change: int) -> None:
    data = bytearray(seal(replace(HELLO, body=ASK), KEY))
    data[at % len(data)] ^= change
    assert isinstance(unseal(bytes(data), KEY), Discard)


def test_another_key_is_another_world() -> None:
    assert unseal(seal(HELLO, KEY), b"another secret of ours") is Discard.NOT_AUTHENTIC


WHO = {"node": "a", "incarnation": "i", "number": 1}


def forged(**changes: object) -> bytes:
    """Return a message that a holder of the key wrote, with fields of its own choosing."""
    from haagent.effects import peer_messages

    genuine = peer_messages._fields(replace(HELLO, body=ASK))
    payload = json.dumps({**genuine, **changes}).encode()
    return peer_messages._HEAD + peer_messages._code(payload, KEY) + payload


@pytest.mark.parametrize(
    "changes",
    [
        {"number": -1},
        {"number": True},
        {"number": 1 << 62},
        {"sent": 1.5},
        {"from": None},
        {"to": "b" * 257},
        {"echo": [1, 2]},
        {"echo": {}},
        {"ask": 1},
        {"ask": {"node": "a"}},
        {"ask": {**WHO, "claims": "VI", "epochs": [], "lease": 1}},
        {"ask": {**WHO, "claims": [["VI"]], "epochs": [], "lease": 1}},
        {"ask": {**WHO, "claims": ["VI"], "epochs": [1, 2], "lease": 1}},
        {"ask": {**WHO, "claims": ["VI"], "epochs": [-1], "lease": 1}},
        {"ask": {**WHO, "claims": [], "epochs": [], "lease": 3601 * SECOND}},
    ],
)
def test_authentic_nonsense_is_discarded(changes: dict[str, object]) -> None:
    assert isinstance(unseal(forged(), KEY), Envelope)
    assert unseal(forged(**changes), KEY) is Discard.MALFORMED


def test_deep_nesting_and_other_json_are_discarded() -> None:
    from haagent.effects import peer_messages

    for payload in (b"[" * 50_000, b"1", b"\xff", b"{}"):
        data = peer_messages._HEAD + peer_messages._code(payload, KEY) + payload
        assert unseal(data, KEY) is Discard.MALFORMED


def test_a_message_of_another_version_or_size_is_discarded() -> None:
    data = seal(HELLO, KEY)
    assert unseal(data[:3] + b"\x02" + data[4:], KEY) is Discard.VERSION
    assert unseal(data + bytes(LARGEST), KEY) is Discard.SIZE
    assert unseal(b"", KEY) is Discard.SIZE


def test_a_thousand_claims_fit_and_too_many_are_refused() -> None:
    names = tuple(f"instance_with_a_name_{number:04}" for number in range(1000))
    epochs = tuple(range(10**6, 10**6 + 1000))
    assert len(seal(replace(HELLO, body=replace(ASK, claims=names, epochs=epochs)), KEY)) < LARGEST
    with pytest.raises(ValueError, match="at most 60000"):
        seal(replace(HELLO, body=replace(ASK, claims=names * 3)), KEY)


def test_a_short_key_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"the peers' key has 15 bytes \(at least 16"):
        check_key(KEY[:15])
    assert check_key(KEY) == KEY


# -- freshness


class Pair:
    """Two links and the time of both; what is written is carried by hand."""

    def __init__(self) -> None:
        self.now = 1000 * SECOND
        self.a, self.b = Link("a", "A1", "b"), Link("b", "B1", "a")

    def carry(self, envelope: Envelope, to: Link) -> Accepted | Discard:
        return to.read(envelope, lambda: self.now)

    def meet(self) -> None:
        """Say hello until both know each other."""
        answer = self.answer(self.carry(self.a.write(None, self.now), self.b))
        answer = self.answer(self.carry(answer, self.a))
        self.answer(self.carry(answer, self.b))
        assert (self.a.toward, self.b.toward) == (self.b.channel, self.a.channel)

    @staticmethod
    def answer(verdict: Accepted | Discard) -> Envelope:
        assert isinstance(verdict, Accepted)
        assert verdict.answer is not None
        return verdict.answer


@pytest.fixture
def pair() -> Pair:
    made = Pair()
    made.meet()
    return made


def test_a_first_hello_proves_nothing_and_three_messages_prove_both() -> None:
    pair = Pair()
    verdict = pair.carry(pair.a.write(ASK, pair.now), pair.b)
    assert isinstance(verdict, Accepted)
    assert (verdict.body, verdict.proved, pair.b.toward) == (None, False, "")
    pair.now += GREETING_PAUSE
    pair.meet()


def test_a_body_is_handed_on_once(pair: Pair) -> None:
    asked = pair.a.write(ASK, pair.now)
    assert pair.carry(asked, pair.b) == Accepted(ASK)
    assert pair.carry(asked, pair.b) is Discard.REPEATED


def test_messages_may_overtake_each_other_but_not_by_far(pair: Pair) -> None:
    early = [pair.a.write(GRANT, pair.now) for _ in range(REORDERED + 1)]
    assert pair.carry(early[-1], pair.b) == Accepted(GRANT)
    assert pair.carry(early[1], pair.b) == Accepted(GRANT)
    assert pair.carry(early[1], pair.b) is Discard.REPEATED
    assert pair.carry(early[0], pair.b) is Discard.REPEATED
    far = replace(pair.a.write(GRANT, pair.now), number=10**9)
    assert pair.carry(far, pair.b) == Accepted(GRANT)
    assert pair.carry(early[2], pair.b) is Discard.REPEATED


def test_what_was_said_to_an_earlier_run_of_ours_is_worth_nothing(pair: Pair) -> None:
    recorded = [pair.b.write(GRANT, pair.now) for _ in range(3)]
    pair.a = Link("a", "A2", "b")
    assert [pair.carry(one, pair.a) for one in recorded] == [Discard.STALE] * 3
    pair.now += GREETING_PAUSE
    pair.meet()
    assert [pair.carry(one, pair.a) for one in recorded] == [Discard.STALE] * 3


def test_an_earlier_run_of_the_peer_does_not_come_back(pair: Pair) -> None:
    recorded = [pair.b.write(GRANT, pair.now) for _ in range(3)]
    assert pair.carry(recorded[0], pair.a) == Accepted(GRANT)
    pair.b = Link("b", "B2", "a")
    pair.now += GREETING_PAUSE
    answer = pair.answer(pair.carry(pair.b.write(None, pair.now), pair.a))
    pair.answer(pair.carry(answer, pair.b))
    assert pair.carry(pair.b.write(GRANT, pair.now), pair.a) == Accepted(GRANT, pair_answer(pair))
    assert [pair.carry(one, pair.a) for one in recorded] == [Discard.STALE] * 3
    assert pair.a.toward == "B2"


def pair_answer(pair: Pair) -> Envelope:
    """Return the hello that ``pair.a`` has just answered with."""
    return Envelope("a", "b", "A1", "B2", pair.a._number, pair.now, Echo(pair.b._number, pair.now, 0))


def test_old_hellos_are_answered_rarely_and_change_nothing(pair: Pair) -> None:
    old = Envelope("a", "b", "A0", "", 1, 5)
    pair.now += GREETING_PAUSE
    verdicts = [pair.carry(old, pair.b) for _ in range(10)]
    assert isinstance(verdicts[0], Accepted)
    assert (verdicts[0].proved, verdicts[0].body) == (False, None)
    assert verdicts[1:] == [Discard.STALE] * 9
    assert pair.b.toward == "A1"
    assert pair.carry(pair.a.write(ASK, pair.now), pair.b) == Accepted(ASK)


def test_an_old_hello_repeated_all_the_time_does_not_keep_a_restarted_peer_waiting(pair: Pair) -> None:
    recorded = Envelope("a", "b", "A0", "", 1, 5)
    pair.a = Link("a", "A2", "b")
    pair.carry(recorded, pair.b)
    pair.meet()
    assert pair.b.toward == "A2"


def test_greetings_are_remembered_in_bounded_memory(pair: Pair) -> None:
    for number in range(3 * MOST_GREETED):
        assert isinstance(pair.carry(Envelope("a", "b", f"A0-{number}", "", 1, 5), pair.b), Accepted)
    assert len(pair.b._greeted) == MOST_GREETED


def test_an_echo_of_what_was_never_sent_proves_nothing(pair: Pair) -> None:
    claimed = Envelope("a", "b", "A9", "B1", 1, 5, Echo(10**9, 5, 0), GRANT)
    assert pair.carry(claimed, pair.b) is Discard.STALE


# -- time from outside


def exchange(pair: Pair, passed_at_b: Instant, passed_at_a: Instant) -> str:
    """Let time pass differently for both; return what ``a`` has against its clock when it hears ``b``."""
    shift = passed_at_b - passed_at_a
    told = pair.b.write(None, pair.now + passed_at_b)
    pair.now += passed_at_a
    verdict = pair.a.read(told, lambda: pair.now)
    assert isinstance(verdict, Accepted)
    pair.b._last = None if pair.b._last is None else (*pair.b._last[:2], pair.b._last[2] - shift)
    return verdict.evidence


def test_clocks_that_agree_raise_no_doubt(pair: Pair) -> None:
    for _ in range(20):
        assert exchange(pair, SECOND, SECOND) == ""
        pair.carry(pair.a.write(None, pair.now), pair.b)


def test_a_clock_that_stood_still_is_found(pair: Pair) -> None:
    assert exchange(pair, SECOND, SECOND) == ""
    assert exchange(pair, 3 * SECOND, 10 * MILLISECOND) == (
        "this node's clock stood still for 2.990 s by the clock of b"
    )


OUTSIDE = (
    # outside, inside, delay of the first message, what is missing
    (SECOND, SECOND, 0, 0),
    (SECOND, SECOND * 10 // 11, 0, 0),  # a tenth is what clocks may be wrong by
    (SECOND, 0, 0, SECOND),
    (SECOND, 0, SECOND - TOLERANCE, 0),  # the first one may have been under way for that long
    (SECOND, 0, SECOND - TOLERANCE - 1, SECOND),
    (10 * SECOND, 9 * SECOND, 0, 10 * SECOND - 9 * SECOND),
    (10 * SECOND, 20 * SECOND, 0, 0),  # ours ran on while theirs stood still: their business
)


@pytest.mark.parametrize(("outside", "inside", "delay", "missing"), OUTSIDE)
def test_what_is_missing(outside: int, inside: int, delay: int, missing: int) -> None:
    missing = 0 if outside <= inside * 11 // 10 + delay + TOLERANCE else missing
    time = OutsideTime()
    assert time.missing(5 * SECOND, 7 * SECOND, delay) == 0
    assert time.missing(5 * SECOND + outside, 7 * SECOND + inside, None) == missing


def test_a_stop_is_found_once() -> None:
    time = OutsideTime()
    time.missing(0, 0, 0)
    assert time.missing(500 * MILLISECOND, 0, 0) == 500 * MILLISECOND
    assert time.missing(550 * MILLISECOND, 50 * MILLISECOND, 0) == 0


def test_a_clock_that_is_merely_slow_is_found_although_messages_are_frequent() -> None:
    time, step = OutsideTime(), 20 * MILLISECOND
    found = [time.missing(n * step, n * step * 7 // 10, 0) for n in range(1, 100)]
    assert sum(map(bool, found)) >= 1


def test_a_queue_of_messages_read_at_once_is_no_stopped_clock(pair: Pair) -> None:
    """A worker that was not running finds many messages in its socket; their echoes show how old they are."""
    exchange(pair, SECOND, SECOND)
    queued = [pair.b.write(None, pair.now + n * SECOND) for n in range(1, 6)]
    pair.now += 5 * SECOND
    verdicts = [pair.a.read(one, lambda: pair.now) for one in queued]
    assert [verdict.evidence for verdict in verdicts if isinstance(verdict, Accepted)] == [""] * 5


# -- sockets


@asynccontextmanager
async def channel(
    node: str, config: PeersConfig
) -> AsyncIterator[tuple[Peers, list[PeerEvent], list[Report]]]:
    events: list[PeerEvent] = []
    reports: list[Report] = []
    peers = Peers(asyncio.get_running_loop(), node, events.append, reports.append)
    peers.reconfigure(config)
    try:
        yield peers, events, reports
    finally:
        peers.close()


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def config(node: str, port: int, key: bytes = KEY) -> PeersConfig:
    """Return one of two nodes, each on two networks (of the loopback interface)."""
    addresses = {"a": ("127.0.0.1", "127.0.1.1"), "b": ("127.0.0.2", "127.0.1.2")}
    other = "b" if node == "a" else "a"
    return PeersConfig((Peer(other, addresses[other]),), port, key, addresses[node])


async def until(condition: Callable[[], object], seconds: float = 3) -> None:
    for _ in range(round(seconds * 100)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


async def test_two_nodes_find_each_other_and_a_message_arrives_once(port: int) -> None:
    async with channel("a", config("a", port)) as (a, _, _), channel("b", config("b", port)) as (b, heard, _):
        await until(lambda: a.status()["b"].link.toward and b.status()["a"].link.toward)
        a.send(SendToPeer("b", ASK))
        await until(lambda: heard)
        await asyncio.sleep(0.05)
        assert heard == [PeerHeard("a", ASK)]
        assert b.counters[Discard.REPEATED] >= 1  # over the other network
        assert b.status()["a"].heard is not None


async def test_a_restarted_node_is_known_again_at_once(port: int) -> None:
    async with channel("a", config("a", port)) as (a, heard, _):
        for _ in range(2):
            async with channel("b", config("b", port)) as (b, _, _):
                await until(lambda b=b: a.status()["b"].link.toward == b.status()["a"].link.channel)
                await until(lambda b=b: b.status()["a"].link.toward)
                b.send(SendToPeer("a", GRANT))
                await until(lambda: heard)
                assert heard.pop() == PeerHeard("b", GRANT)


async def test_what_is_not_authentic_or_not_for_us_is_counted_and_told_rarely(port: int) -> None:
    to_b = seal(Envelope("a", "b", "c", "", 1, 1), KEY)
    from_c = seal(Envelope("c", "a", "c", "", 1, 1), KEY)
    async with channel("a", config("a", port)) as (a, events, reports):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(50):
                for data in (b"x", b"HAP\x01" + bytes(100), to_b, from_c):
                    sender.sendto(data, ("127.0.0.1", port))
        await until(lambda: a.counters[Discard.UNKNOWN_NODE] == 50)
        for reason in (Discard.SIZE, Discard.NOT_AUTHENTIC, Discard.NOT_FOR_US):
            assert a.counters[reason] == 50
        assert events == []
        told = [
            report for report in reports if isinstance(report, Noticed) and report.what == "message discarded"
        ]
        assert len(told) == 4
        assert any("from a node that is not configured from c" in report.detail for report in told)


async def test_ones_own_messages_are_worth_nothing(port: int) -> None:
    mirrored = PeersConfig((Peer("b", ("127.0.0.1",)),), port, KEY, ("127.0.0.1",))
    async with channel("a", mirrored) as (a, events, _):
        await until(lambda: a.counters[Discard.UNKNOWN_NODE] + a.counters[Discard.NOT_FOR_US])
        a.send(SendToPeer("b", GRANT))
        await until(lambda: a.counters[Discard.NOT_FOR_US] >= 2)
        assert events == []


async def test_a_stopped_clock_is_delivered_as_doubt(port: int) -> None:
    async with (
        channel("a", config("a", port)) as (a, doubts, _),
        channel("b", config("b", port)) as (b, _, _),
    ):
        await until(lambda: a.status()["b"].link.outside.delay is not None)
        b._clock._fast += 2 * SECOND  # as if b had lived through two seconds that a has not
        b.send(SendToPeer("a", GRANT))
        await until(lambda: len(doubts) == 2)
        doubt, heard = doubts
        assert isinstance(doubt, ClockDoubted)
        assert re.search(r"stood still for (1\.9|2\.)", doubt.evidence)
        assert heard == PeerHeard("b", GRANT)


async def test_a_reload_keeps_the_links_that_stay(port: int) -> None:
    async with channel("a", config("a", port)) as (a, _, _), channel("b", config("b", port)) as (b, heard, _):
        await until(lambda: a.status()["b"].link.toward and b.status()["a"].link.toward)
        both = config("b", port)
        a.reconfigure(replace(config("a", port), nodes=(*config("a", port).nodes, Peer("c", ("127.0.0.3",)))))
        b.reconfigure(replace(both, listen=("127.0.0.2",)))
        a.send(SendToPeer("b", ASK))
        a.send(SendToPeer("d", ASK))  # the core may still ask one that has left
        await until(lambda: heard)
        assert heard == [PeerHeard("a", ASK)]
        with pytest.raises(ConfigError):
            a.reconfigure(config("a", port, b"short"))
        b.reconfigure(None)
        assert not b.status()


async def test_a_peer_that_a_reload_names_again_is_known_again_at_once(port: int) -> None:
    async with channel("a", config("a", port)) as (a, _, _), channel("b", config("b", port)) as (b, heard, _):
        await until(lambda: a.status()["b"].link.toward and b.status()["a"].link.toward)
        for _ in range(500):  # a channel that has been up for a while; b takes what is far ahead
            a.status()["b"].link.write(None, 0)
        a.send(SendToPeer("b", ASK))
        await until(lambda: heard)
        a.reconfigure(None)
        a.reconfigure(config("a", port))
        await until(lambda: a.status()["b"].link.toward)
        heard.clear()
        a.send(SendToPeer("b", ASK))
        await until(lambda: heard)


async def test_an_address_that_is_not_there_does_not_stop_the_node() -> None:
    busy = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with busy:
        busy.bind(("127.0.0.1", 0))
        own = PeersConfig(
            (Peer("b", ("127.0.0.2", "2001:db8::2")),),
            busy.getsockname()[1],
            KEY,
            ("127.0.0.1", "192.0.2.77"),
        )
        async with channel("a", own) as (a, _, reports):
            assert (socket.AF_INET, "192.0.2.77") in a._listening  # it may come later
            assert (socket.AF_INET, "127.0.0.1") not in a._listening
            assert any("in use" in report.detail for report in reports if isinstance(report, Noticed))
            assert a.counters["sent"] >= 1
            busy.close()
            a._say_hello()
            assert (socket.AF_INET, "127.0.0.1") in a._listening
