"""Address requests, read back by an independent netlink library."""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from haagent.config.network_model import VirtualAddress
from haagent.effects.netlink import (
    ADDRESS_PROTOCOL,
    RTM_DELADDR,
    RTM_NEWADDR,
    _acknowledgements,
    add_address,
    delete_address,
    explain,
)
from haagent.errors import EffectError

V4 = VirtualAddress(IPv4Address("192.0.2.1"), 24, "eth0")
V6 = VirtualAddress(IPv6Address("2001:db8::1"), 128, "eth0", preferred_lifetime=0)


def with_(virtual: VirtualAddress, **changes: Any) -> VirtualAddress:
    fields = {name: getattr(virtual, name) for name in VirtualAddress.__slots__}
    return VirtualAddress(**(fields | changes))


def parsed(request: bytes) -> Any:
    message = ifaddrmsg(request)
    message.decode()
    assert message["header"]["length"] == len(request)
    return message


def test_an_ipv4_address() -> None:
    message = parsed(add_address(7, with_(V4, label="eth0:1", broadcast="+"), 3))
    assert message["header"]["type"] == RTM_NEWADDR
    assert message["header"]["flags"] == 0x1 | 0x4 | 0x100 | 0x400  # request, ack, replace, create
    assert (message["family"], message["prefixlen"], message["scope"], message["index"]) == (2, 24, 0, 7)
    assert message.get_attr("IFA_LOCAL") == message.get_attr("IFA_ADDRESS") == "192.0.2.1"
    assert message.get_attr("IFA_LABEL") == "eth0:1"
    assert message.get_attr("IFA_BROADCAST") == "192.0.2.255"
    assert message.get_attr("IFA_PROTO") == ADDRESS_PROTOCOL
    lifetimes = message.get_attr("IFA_CACHEINFO")
    assert (lifetimes["ifa_preferred"], lifetimes["ifa_valid"]) == (3, 3)


def test_an_address_that_must_not_be_renewed_is_only_ever_added() -> None:
    message = parsed(add_address(7, V4, 3, renew=False))
    assert message["header"]["flags"] == 0x1 | 0x4 | 0x200 | 0x400  # request, ack, exclusive, create


def test_an_ipv6_host_address_is_deprecated_from_the_start() -> None:
    message = parsed(add_address(7, V6, 3))
    assert message["family"] == 10
    assert message.get_attr("IFA_FLAGS") == 0x02  # NODAD
    assert message.get_attr("IFA_CACHEINFO")["ifa_preferred"] == 0
    wide = parsed(add_address(7, with_(V6, prefix_length=64, nodad=False, preferred_lifetime=None), 3))
    assert wide.get_attr("IFA_CACHEINFO")["ifa_preferred"] == 3
    assert wide.get_attr("IFA_FLAGS") == 0


@pytest.mark.parametrize(("given", "valid", "preferred"), [(5, 9, 5), (20, 9, 9), (0, 9, 0)])
def test_a_preferred_lifetime_never_exceeds_the_valid_one(given: int, valid: int, preferred: int) -> None:
    message = parsed(add_address(7, with_(V6, preferred_lifetime=given), valid))
    assert message.get_attr("IFA_CACHEINFO")["ifa_preferred"] == preferred


def test_a_host_address_that_is_preferred_for_ever_may_be_a_source() -> None:
    message = parsed(add_address(7, with_(V6, preferred_lifetime=None), 3))
    assert message.get_attr("IFA_CACHEINFO")["ifa_preferred"] == 3


def test_flags_and_broadcast_addresses_as_ip_address_has_them() -> None:
    flagged = with_(V6, nodad=False, flags=("home", "mngtmpaddr", "noprefixroute", "autojoin"))
    assert parsed(add_address(7, flagged, 3)).get_attr("IFA_FLAGS") == 0x10 | 0x100 | 0x200 | 0x400
    lowest = parsed(add_address(7, with_(V4, broadcast="-"), 3))
    assert lowest.get_attr("IFA_BROADCAST") == "192.0.2.0"


def test_a_lifetime_is_never_zero_which_the_kernel_refuses() -> None:
    assert parsed(add_address(7, V4, 0)).get_attr("IFA_CACHEINFO")["ifa_valid"] == 1


def test_deleting_names_address_and_peer() -> None:
    message = parsed(delete_address(7, with_(V4, peer="192.0.2.9")))
    assert message["header"]["type"] == RTM_DELADDR
    assert message.get_attr("IFA_LOCAL") == "192.0.2.1"
    assert message.get_attr("IFA_ADDRESS") == "192.0.2.9"


@pytest.mark.parametrize(
    ("scope", "number"), [(None, 0), ("global", 0), ("site", 200), ("link", 253), ("host", 254), ("42", 42)]
)
def test_scopes(scope: str | None, number: int) -> None:
    assert parsed(add_address(7, with_(V4, scope=scope), 3))["scope"] == number


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"scope": "galaxy"}, "the scope of 192.0.2.1/24 is galaxy, accepted are global, site"),
        ({"peer": "nobody"}, "the peer of 192.0.2.1/24 is not an address: nobody"),
        ({"broadcast": "loud"}, "the broadcast address of 192.0.2.1/24 is not one: loud"),
    ],
)
def test_nonsense_is_named(changes: dict[str, str], complaint: str) -> None:
    with pytest.raises(EffectError, match=complaint):
        add_address(7, with_(V4, **changes), 3)


def test_acknowledgements_are_read_from_one_buffer() -> None:
    def ack(sequence: int, code: int) -> bytes:
        return struct.pack("=IHHIIi16x", 36, 2, 0, sequence, 1, -code)

    assert _acknowledgements(ack(5, 0) + ack(6, errno.EADDRNOTAVAIL)) == [(5, 0), (6, errno.EADDRNOTAVAIL)]
    assert _acknowledgements(b"\0" * 64) == []
    assert explain(errno.EADDRNOTAVAIL).endswith("(EADDRNOTAVAIL)")
