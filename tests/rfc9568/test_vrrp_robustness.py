"""Hostile and odd traffic: every seed's verdict, floods, and the limit on answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import OURS, PEER, START, V2, V3, V3_IPV6, backup, expecting, master, message, receive
from vectors import Carried, Row, carried, each

from haagent.core.packet import Discard, Expectations, Packet, Remark
from haagent.core.units import CENTISECOND, MILLISECOND, SECOND
from haagent.core.virtual_router import Master, Output

PROFILES: dict[str, Expectations] = {
    "v2": expecting(V2),
    "v2pass": expecting(replace(V2, auth=b"s3cr3t")),
    "v3": expecting(V3),
    "v6": expecting(V3_IPV6, strict=True),  # the seeds follow erratum 8300 to the letter
    "u3": expecting(V3, destination=OURS, peers=frozenset({PEER})),
}
# The RFCs say nothing about these: decided once, here.
POLICY = {
    "IPv4 source 0.0.0.0": Discard.SOURCE,
    "source 0.0.0.0": Discard.SOURCE,
    "unicast from a host that is not a configured peer": Discard.NOT_A_PEER,
    "IPv6 source is a global address": None,
    "IPv6 source ::": Discard.SOURCE,
}
# A seed's word for a reason where ours is finer; garbage breaks several rules at once, any of them will do.
SAME = {"auth-type": {Discard.AUTH_TYPE, Discard.PROTOCOL}}
REMARKED = {
    "addr-list": Remark.ADDRESS_LIST,
    "interval-mismatch": Remark.INTERVAL,
    "checksum-form": Remark.CHECKSUM_FORM,
}


def verdict(row: Row) -> Packet | Discard | None:
    came = carried(bytes.fromhex(row["frame_hex"]))
    if not isinstance(came, Carried):
        return came
    header = {"source": came.source, "destination": came.destination, "ttl": came.ttl}
    return receive(came.payload, PROFILES[row["profile"]], **header)


@each("fuzz-seeds.jsonl")
def test_RB_01_every_seed_meets_its_verdict(row: Row) -> None:
    found = verdict(row)
    if found is None:
        assert row["kernel_drops"]  # truncated IPv6, a VLAN tag: no raw socket ever sees it
        return
    expect = row["expect"]
    if expect == "policy":
        wanted = POLICY[row["name"]]
        assert isinstance(found, Packet) if wanted is None else found is wanted
    elif expect == "drop":
        assert isinstance(found, Discard)
        assert row["class"] == "garbage" or found in SAME.get(row["reason"], {row["reason"]})
    else:
        assert isinstance(found, Packet)
        remark = REMARKED.get(row["reason"])
        assert found.remarks == (() if remark is None else (remark,))


def test_RB_02_a_flood_of_resignations_keeps_a_backup_down() -> None:
    # RFC behaviour, however unwelcome: each one re-arms Skew_Time. The caller logs it.
    fresh = backup()
    for step in range(100):
        now = START + step * 300 * MILLISECOND
        fresh.advertisement_received(PEER, 0, SECOND, now)
        assert not fresh.wants_master(now + 300 * MILLISECOND)
    assert fresh.wants_master(START + 99 * 300 * MILLISECOND + 609_375_000)


@pytest.mark.parametrize("priority", [0, 50])
def test_RB_03_the_first_is_answered_at_once_and_the_rest_four_times_an_interval(priority: int) -> None:
    fresh = master()
    answers = [
        step
        for step in range(1000)
        if fresh.advertisement_received(PEER, priority, SECOND, START + step * MILLISECOND)
        == (Output.SEND_ADVERTISEMENT,)
    ]
    assert answers == [0, 250, 500, 750]


def test_RB_03_a_flood_of_resignations_cannot_silence_a_master() -> None:
    fresh, sent = master(), 0
    for step in range(5000):
        now = START + step * MILLISECOND
        sent += fresh.deadline_reached(now) != ()
        sent += fresh.advertisement_received(PEER, 0, SECOND, now) != ()
    assert 4 * 5 <= sent <= 5 * 5


def test_RB_04_one_packet_with_the_longest_interval_parks_a_backup() -> None:
    fresh = backup(3, 1)
    fresh.advertisement_received(PEER, 255, 4095 * CENTISECOND, START)
    assert fresh.next_deadline() == START + 163_640_039_062


def test_RB_05_priority_255_always_wins() -> None:
    fresh = master(3, 254)
    assert fresh.advertisement_received(PEER, 255, SECOND, START) == (Output.REMOVE_ADDRESSES,)


def test_RB_06_packets_for_unknown_vrids_leave_nothing_behind() -> None:
    seen = {
        receive(message(replace(V3, vrid=vrid)), PROFILES["v3"]) for vrid in range(1, 256) if vrid != V3.vrid
    }
    assert seen == {Discard.VRID}


def test_a_master_survives_every_advertisement_it_may_answer() -> None:
    fresh = master()
    for priority in range(100):
        fresh.advertisement_received(PEER, priority, SECOND, START)
    assert isinstance(fresh.state, Master)
