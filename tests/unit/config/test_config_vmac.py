"""use_vmac and no_accept: which interfaces an instance gets, how they are called, and which addresses are on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from haagent.config.load import load
from haagent.config.messages import ConfigErrors
from haagent.config.model import Configuration
from haagent.config.network_model import VirtualMac

ONE = """vrrp_instance VI_1 {{
    interface eth0
    virtual_router_id 51
    {}
    virtual_ipaddress {{
        {}
    }}
}}
"""
TWO = ONE.replace("VI_1", "VI_2")


def read(tmp_path: Path, *parts: str) -> Configuration:
    path = tmp_path / "keepalived.conf"
    path.write_text("\n".join(parts))
    return load((path,))


def one(words: str, addresses: str = "192.0.2.1", kind: str = ONE) -> str:
    return kind.format(words, addresses)


@pytest.mark.parametrize(
    ("words", "vmac"),
    [
        ("use_vmac", VirtualMac("vrrp.51", "eth0", "00:00:5e:00:01:33")),
        ("use_vmac mine", VirtualMac("mine", "eth0", "00:00:5e:00:01:33")),
        ("use_vmac mine 02:00:00:00:00:07", VirtualMac("mine", "eth0", "02:00:00:00:00:07")),
        ("use_vmac 2:0:0:0:9", VirtualMac("vrrp.51", "eth0", "02:00:00:00:09:33")),
        ("use_vmac netlink_notify_msg group 3", VirtualMac("vrrp.51", "eth0", "00:00:5e:00:01:33")),
    ],
)
def test_the_words_of_use_vmac(tmp_path, words, vmac):
    instance = read(tmp_path, one(words)).instances[0]
    assert instance.vmac == vmac
    assert [address.device for address in instance.addresses] == [vmac.name]
    assert instance.carrier(vmac.name) == "eth0"


def test_names_are_unique_and_keepaliveds(tmp_path):
    both = read(tmp_path, one("use_vmac"), one("use_vmac", "fe80::1", TWO))
    assert [i.vmac for i in both.instances] == [
        VirtualMac("vrrp.51", "eth0", "00:00:5e:00:01:33"),
        VirtualMac("vrrp6.51", "eth0", "00:00:5e:00:02:33"),
    ]


def test_addresses_elsewhere_get_one_where_they_ask_for_it(tmp_path):
    addresses = "192.0.2.1\n192.0.2.2 dev eth0\n198.51.100.1 dev eth1 use_vmac\n198.51.100.2 dev eth1"
    instance = read(tmp_path, one("use_vmac", addresses)).instances[0]
    assert [address.device for address in instance.addresses] == ["vrrp.51", "vrrp.51", "vrrp1.51", "eth1"]
    assert instance.address_vmacs == (VirtualMac("vrrp1.51", "eth1", "00:00:5e:00:01:33"),)
    words = "use_vmac\nuse_vmac_addr\nvirtual_ipaddress_excluded {\n2001:db8::1\n}"
    instance = read(tmp_path, one(words, addresses)).instances[0]
    assert [address.device for address in instance.addresses][3] == "vrrp1.51"
    assert [address.device for address in instance.excluded] == ["vrrp6.51"]


def test_unicast_leaves_by_the_interface_itself(tmp_path):
    configuration = read(tmp_path, one("use_vmac\nunicast_peer {\n192.0.2.9\n}"))
    assert configuration.instances[0].xmit_base
    assert "unicast adverts leave by the interface itself" in " ".join(configuration.warnings)
    assert not read(tmp_path, one("vmac_xmit_base")).instances[0].xmit_base
    strict = read(tmp_path, one("strict_mode on\nuse_vmac 02:00:00:00:00:07\nvmac_xmit_base")).instances[0]
    assert strict.vmac == VirtualMac("vrrp.51", "eth0", "00:00:5e:00:01:33")
    assert not strict.xmit_base


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((one("use_vmac 01:00:00:00:00:07"),), "a unicast MAC"),
        ((one("use_vmac 00:00:5e:00:01:09"),), "another virtual router's MAC"),
        ((one("use_vmac same"), one("use_vmac same", "fe80::1", TWO)), "is used by VI_1 already"),
        ((one("use_vmac a/b"),), "the name of a network interface"),
        ((one("use_ipvlan"),), "use_ipvlan is not supported"),
    ],
)
def test_what_cannot_be_is_an_error(tmp_path, parts, said):
    with pytest.raises(ConfigErrors) as caught:
        read(tmp_path, *parts)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("words", "accept"),
    [
        ("", True),
        ("no_accept", False),
        ("no_accept\npriority 255", True),
        ("strict_mode on", False),
        ("strict_mode on\nversion 3\naccept", True),
        ("strict_mode on\nversion 2\naccept", False),
        ("strict_mode on\npriority 255\nstate MASTER", True),
    ],
)
def test_accept_mode(tmp_path, words, accept):
    assert read(tmp_path, one(words)).instances[0].accept is accept


def test_pid_files(tmp_path):
    assert read(tmp_path, one("")).pid_files is None
    assert read(tmp_path, "use_pid_dir", one("")).pid_files == (
        "/run/keepalived/keepalived.pid",
        "/run/keepalived/vrrp.pid",
    )
    assert read(tmp_path, "instance x", one("")).pid_files == (
        "/run/keepalived/keepalived_x.pid",
        "/run/keepalived/vrrp_x.pid",
    )
