"""FRR beside haagent in a rehearsal: what is written for vrrpd, and what its judge asks."""

from __future__ import annotations

import os
import subprocess
import tempfile

import pytest

from haagent.config.load import load
from haagent.lab import probes
from haagent.lab.namespaces import LabError
from haagent.lab.observers import Watch
from haagent.lab.rehearsal.frr import DAEMONS, configuration
from haagent.lab.topology import VIP4, VIP6

TWO = """
vrrp_instance outside {
    version 3
    interface eth0
    virtual_router_id 51
    priority 255
    advert_int 0.25
    virtual_ipaddress {
        192.0.2.100/24
        192.0.2.101/24
    }
}
vrrp_instance inside {
    version 2
    interface eth1
    virtual_router_id 7
    priority 90
    advert_int 50
    nopreempt
    virtual_ipaddress {
        10.1.0.1/24
    }
}
"""
SIX = TWO.replace("10.1.0.1/24", "2001:db8::1/64").replace("version 2", "version 3")


def written(tmp_path, text):
    file = tmp_path / "keepalived.conf"
    file.write_text(text)
    return configuration(load([file]).instances)


def test_an_instance_becomes_a_virtual_router_of_its_interface(tmp_path):
    assert written(tmp_path, TWO).splitlines() == [
        "interface eth0",
        " vrrp 51 version 3",
        " vrrp 51 priority 254",
        " vrrp 51 advertisement-interval 250",
        " vrrp 51 ip 192.0.2.100",
        " vrrp 51 ip 192.0.2.101",
        "exit",
        "interface eth1",
        " vrrp 7 version 2",
        " vrrp 7 priority 90",
        " vrrp 7 advertisement-interval 40950",
        " vrrp 7 ip 10.1.0.1",
        " no vrrp 7 preempt",
        "exit",
    ]


def test_an_instance_of_ipv6_alone_cannot_be_played(tmp_path):
    with pytest.raises(LabError, match="inside has no IPv4 address"):
        written(tmp_path, SIX)


def complaints(text):
    """Return what vrrpd says to a configuration without running on it; it has given root up when it reads it."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(text)
        file.flush()
        os.chmod(file.name, 0o644)
        argv = [DAEMONS / "vrrpd", "--dryrun", "--log", "stdout", "--config_file", file.name]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


def test_vrrpd_itself_takes_every_line(tmp_path):
    if not (DAEMONS / "vrrpd").exists() or os.geteuid() != 0:
        pytest.skip("needs root and FRR (apt install frr)")
    assert "No such command on config line 2:  vrrp 51 wrong" in complaints(
        "interface eth0\n vrrp 51 wrong\n"
    )
    assert "No such command" not in complaints(written(tmp_path, TWO))


def test_without_echo_only_arp_is_asked():
    watch, mac = Watch((VIP4, VIP6)), b"\x02" * 6
    kinds = [int.from_bytes(frame[12:14], "big") for frame in watch.questions(mac, 1)]
    assert kinds == [probes.ARP, probes.IPV4, probes.IPV6, probes.IPV6]
    quiet = Watch((VIP4,), echo=False).questions(mac, 1)
    assert quiet == [probes.arp_request(mac, VIP4, 1)]
