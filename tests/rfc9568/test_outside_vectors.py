"""Packets and timelines of other implementations: the same bytes out, the same meaning in, the same moment."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from builders import VRID, expecting, router
from vectors import Carried, Row, addresses, carried, each

from haagent.core.events import IPAddress
from haagent.core.packet import ChecksumForm, Discard, Expectations, Packet, Remark, decode, encode
from haagent.core.units import CENTISECOND, MILLISECOND, SECOND
from haagent.core.virtual_router import Backup, Master, Output, VirtualRouter


def described(fields: Row, auth: bytes | None = None) -> Packet:
    """Return the packet a row describes."""
    v2 = fields["version"] == 2
    return Packet(
        version=fields["version"],
        vrid=fields["vrid"],
        priority=fields["priority"],
        interval=fields["adver_int_s"] * SECOND if v2 else fields["max_adver_int_cs"] * CENTISECOND,
        addresses=addresses(fields["addresses"]),
        auth=bytes.fromhex(fields["auth_data_hex"]) if v2 and fields.get("auth_type") == 1 else auth,
    )


def matching(packet: Packet, came: Carried, **changes: Any) -> Expectations:
    """Return what an instance configured like the sender, at the receiving end of ``came``, expects."""
    peers = None if came.destination.is_multicast else frozenset({came.source})
    return expecting(packet, destination=came.destination, own_addresses=frozenset(), peers=peers, **changes)


def read(came: Carried, expected: Expectations) -> Packet | Discard:
    header = {"source": came.source, "destination": came.destination, "ttl": came.ttl}
    return decode(came.payload, family=came.family, expectations=expected, **header)  # type: ignore[arg-type]


@each("golden-encode.jsonl")
def test_three_encoders_agree_with_ours(row: Row) -> None:
    source, destination = ip_address(row["ip_src"]), ip_address(row["ip_dst"])
    packet = described(row)
    forms = {ChecksumForm.PSEUDO_HEADER: "vrrp_hex", ChecksumForm.MESSAGE_ONLY: "vrrp_hex_rfc9568"}
    for form, column in forms.items():
        if column not in row or ("corner" in row and form not in row["corner"] and row["version"] == 3):
            continue
        data = encode(packet, source=source, destination=destination, checksum=form)
        assert data.hex() == row[column]
        came = Carried(row["af"], source, destination, 255, data)
        assert read(came, matching(packet, came, checksum_sent=form)) == packet


UNSUPPORTED = {"v2-ah": Discard.PROTOCOL, "v2-ipv6-nonstandard": Discard.VERSION}


@each("golden-keepalived.jsonl", keep=lambda row: row["kind"] == "vrrp-advert")
def test_keepalived_is_understood_and_matched(row: Row) -> None:
    came = carried(bytes.fromhex(row["frame_hex"]))
    if isinstance(came, Discard):
        assert came is UNSUPPORTED[row["scenario"]]
        return
    assert came is not None
    packet = described(row["vrrp"])
    found = read(came, matching(packet, came))
    if row["scenario"] in UNSUPPORTED:
        assert found is UNSUPPORTED[row["scenario"]]
        return
    remarks = (Remark.NOT_LINK_LOCAL,) if row["scenario"] == "v3-ipv6-global-first" else ()
    assert found == replace(packet, remarks=remarks)
    assert encode(packet, source=came.source, destination=came.destination).hex() == row["vrrp_hex"]


def own_moment(row: Row, fresh: VirtualRouter) -> int | None:
    """Return when the router becomes Master while the row's frames arrive, None if it does not in time."""
    fresh.startup(0)
    arrivals = [(round(item["t"] * SECOND), bytes.fromhex(item["frame_hex"])) for item in row["inject"]]
    packet = Packet(
        version=row["version"],
        vrid=VRID,
        priority=row["dut"]["priority"],
        interval=fresh.parameters.advertisement_interval,
        addresses=addresses(row["dut"]["virtual_addresses"]),
    )
    for at, frame in [*arrivals, (row["listen_until_s"] * SECOND, b"")]:
        deadline = fresh.next_deadline()
        if deadline is not None and deadline <= at:
            assert Output.SEND_ADVERTISEMENT in fresh.deadline_reached(deadline)
            return deadline
        came = carried(frame) if frame else None
        if isinstance(came, Carried):
            found = read(came, matching(packet, came))
            if isinstance(found, Packet):
                fresh.advertisement_received(came.source, found.priority, found.interval, at)
    return None


@each("timing-sequences.jsonl")
def test_a_backup_takes_over_at_the_expected_moment(row: Row) -> None:
    dut = row["dut"]
    fresh = router(
        row["version"],
        dut["priority"],
        advertisement_interval=dut["advertisement_interval_cs"] * CENTISECOND,
        preempt_mode=dut["preempt"],
    )
    moment, expect = own_moment(row, fresh), row["expect"]
    if expect is None:
        assert moment is None
        return
    assert moment is not None
    since = 0 if expect["first_advert_at_s_after"] == "start" else round(row["inject"][-1]["t"] * SECOND)
    assert abs(moment - since - round(expect["seconds"] * SECOND)) < MILLISECOND


@each("active-probes.jsonl")
def test_a_master_reacts_as_keepalived_does(row: Row) -> None:
    came = carried(bytes.fromhex(row["frame_hex"]))
    assert isinstance(came, Carried)
    version = came.payload[0] >> 4
    fresh = router(version, row["local_priority"], lower_priority_no_advert=False)
    fresh._state = Master(adver_at=SECOND, answer_at=0)
    interval = came.payload[5] * SECOND if version == 2 else SECOND
    outputs = fresh.advertisement_received(came.source, came.payload[2], interval, 0)
    assert isinstance(fresh.state, Backup) is (row["verdict"] == "accept-backup")
    sent = [row["local_priority"]] if Output.SEND_ADVERTISEMENT in outputs else []
    assert sent == row["adverts_sent_within_450ms"][: len(sent) or None]


def placed(row: Row) -> Carried | Discard | None:
    """Return the VRRP message of a suite's row, with addresses where the suite names none."""
    data = bytes.fromhex(row["hex"])
    if row["layer"] == "ethernet":
        return carried(data)
    if row["layer"] == "ip":
        return carried(bytes(12) + (b"\x08\x00" if data[0] >> 4 == 4 else b"\x86\xdd") + data)
    group: IPAddress = ip_address("224.0.0.18" if row["af"] == 4 else "ff02::12")
    source = ip_address(row.get("ip_src", "192.0.2.252" if row["af"] == 4 else "fe80::1"))
    return Carried(row["af"], source, ip_address(row.get("ip_dst", str(group))), 255, data)


def messages(row: Row) -> bool:
    return row["layer"] in {"vrrp", "ip", "ethernet"} and row["expect"] != "decode-only"


@each("third-party/suite-vectors.jsonl", keep=messages)
def test_other_suites_vectors(row: Row) -> None:
    came = placed(row)
    assert isinstance(came, Carried)
    if row["expect"] == "accept":
        packet = described(row["decoded"])
        assert read(came, matching(packet, came, checksum_sent=_form(row))) == packet
        return
    vrid = int.from_bytes(came.payload[1:2])
    for version in (2, 3):
        instance = Packet(version=version, vrid=vrid, priority=1, interval=SECOND, addresses=())
        assert isinstance(read(came, matching(instance, came, strict=True)), Discard)


def _form(row: Row) -> ChecksumForm:
    alone = row["checksum_matches"] == ["message_only"] and row["decoded"]["version"] == 3
    return ChecksumForm.MESSAGE_ONLY if alone else ChecksumForm.PSEUDO_HEADER


@each("third-party/tcpdump-vrrp-pcap.jsonl")
def test_tcpdumps_captures(row: Row) -> None:
    came = carried(bytes.fromhex(row["frame_hex"]))
    if row["expect"] == "drop":
        guess = Packet(version=3, vrid=255, priority=1, interval=SECOND, addresses=())
        assert not isinstance(came, Carried) or isinstance(read(came, matching(guess, came)), Discard)
        return
    assert isinstance(came, Carried)
    packet = described(row["vrrp"])
    found = read(came, matching(packet, came))
    assert isinstance(found, Packet)
    assert replace(found, remarks=()) == packet
    assert encode(packet, source=came.source, destination=came.destination) == came.payload
