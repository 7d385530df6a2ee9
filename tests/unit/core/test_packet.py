"""The codec's own promises, beside the RFC's rules (tests/rfc9568)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from haagent.core.packet import (
    MULTICAST_GROUP_4,
    MULTICAST_GROUP_6,
    ChecksumForm,
    Discard,
    Expectations,
    Packet,
    Remark,
    decode,
    encode,
)
from haagent.core.units import CENTISECOND, SECOND

VIP = IPv4Address("192.0.2.1")
PEER = IPv4Address("192.0.2.252")
PACKET = Packet(version=3, vrid=51, priority=100, interval=SECOND, addresses=(VIP,))
EXPECTED = Expectations(
    version=3,
    vrid=51,
    interval=SECOND,
    addresses=(VIP,),
    destination=MULTICAST_GROUP_4,
    own_addresses=frozenset(),
)


def receive(data: bytes, expected: Expectations = EXPECTED, ttl: int = 255) -> Packet | Discard:
    return decode(
        data, family=4, source=PEER, destination=expected.destination, ttl=ttl, expectations=expected
    )


def sent(packet: Packet = PACKET, form: ChecksumForm = ChecksumForm.PSEUDO_HEADER) -> bytes:
    return encode(packet, source=PEER, destination=MULTICAST_GROUP_4, checksum=form)


def test_a_whole_message_octet_by_octet() -> None:
    assert sent().hex() == "31336401006404dac0000201"
    assert sent(form=ChecksumForm.MESSAGE_ONLY).hex() == "313364010064a865c0000201"


def test_the_first_broken_rule_names_the_packet() -> None:
    # TTL, version and length are all wrong: the order of the ladder decides.
    assert receive(b"\x21" + sent()[1:-1], ttl=64) is Discard.TTL
    assert receive(b"\x21" + sent()[1:-1]) is Discard.VERSION
    assert receive(sent()[:-1]) is Discard.LENGTH


def test_remarks_add_up_in_the_order_they_were_noticed() -> None:
    other = replace(PACKET, interval=CENTISECOND, addresses=(IPv4Address("192.0.2.9"),))
    decoded = receive(sent(other, ChecksumForm.MESSAGE_ONLY))
    assert decoded == replace(other, remarks=(Remark.CHECKSUM_FORM, Remark.INTERVAL, Remark.ADDRESS_LIST))


def test_the_same_form_as_ours_is_no_remark() -> None:
    ours = replace(EXPECTED, checksum_sent=ChecksumForm.MESSAGE_ONLY)
    assert receive(sent(form=ChecksumForm.MESSAGE_ONLY), ours) == PACKET
    assert receive(sent(), ours) == replace(PACKET, remarks=(Remark.CHECKSUM_FORM,))


def test_a_password_is_in_no_representation() -> None:
    packet = replace(PACKET, version=2, auth=b"s3cr3t")
    assert "s3cr3t" not in repr(packet)
    assert "s3cr3t" not in repr(replace(EXPECTED, auth=b"s3cr3t"))


@pytest.mark.parametrize("field", ["vrid", "priority"])
def test_a_field_that_does_not_fit_an_octet_is_refused(field: str) -> None:
    too_big: dict[str, Any] = {field: 256}
    with pytest.raises(ValueError, match="256"):
        sent(replace(PACKET, **too_big))


def test_a_mixed_call_is_refused_by_encode_and_dropped_by_decode() -> None:
    with pytest.raises(ValueError, match="one family"):
        encode(PACKET, source=IPv6Address("fe80::1"), destination=MULTICAST_GROUP_6)
    verdict = decode(
        sent(), family=6, source=PEER, destination=MULTICAST_GROUP_4, ttl=255, expectations=EXPECTED
    )
    assert verdict is Discard.LENGTH
