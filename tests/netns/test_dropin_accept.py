"""no_accept and vrrp_strict: what a MASTER that is not the owner takes for its address, for either daemon."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from dropin_lab import VIP, Host, Kind, configuration, eventually, host, ip
from wire import inside

pytestmark = [pytest.mark.netns, pytest.mark.keepalived]
VIP6 = "fd77::100"


def answers(made: Host, address: str) -> bool:
    """Ask a closed UDP port of ``address`` from the other end of the wire; a host that takes the packet refuses."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(made.far):
        asking = socket.socket(family, socket.SOCK_DGRAM)
    with asking:
        asking.settimeout(0.4)
        asking.connect((address, 9))
        try:
            for _ in range(2):
                asking.send(b"?")
                asking.recv(1)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def neighbour(made: Host, address: str) -> str:
    """Return the state of the other end's neighbour entry for ``address``."""
    shown = ip("-n", made.far, "neigh", "show", address).split()
    return shown[-1] if shown else ""


@pytest.fixture
def lab(tmp_path: Path):
    with host(tmp_path) as made:
        ip("-n", made.far, "addr", "add", "10.77.0.2/24", "dev", "lan")
        for name, address in ((made.far, "fd77::2/64"), (made.name, "fd77::1/64")):
            ip("-n", name, "addr", "add", address, "dev", "lan", "nodad")
        yield made


def six(*words: str) -> str:
    """Return an IPv6 instance beside the usual one."""
    inside_it = ("interface lan", "virtual_router_id 52", "priority 150", "advert_int 0.1", *words)
    return "\n".join(
        ("vrrp_instance VI_6 {", *inside_it, "virtual_ipaddress {", "fe80::100/64", f"{VIP6}/64", "}", "}")
    )


@pytest.mark.parametrize(
    ("kind", "words", "more_globals", "takes"),
    [
        ("haagent", ("no_accept",), "", False),
        ("haagent", (), "vrrp_strict", False),
        ("haagent", ("accept",), "vrrp_strict", True),
        ("keepalived", (), "vrrp_strict", False),
        ("keepalived", ("accept",), "vrrp_strict", True),
    ],
    ids=["no_accept", "strict", "strict-accept", "keepalived-strict", "keepalived-strict-accept"],
)
def test_what_a_master_takes(lab: Host, kind: Kind, words: tuple[str, ...], more_globals: str, takes: bool):
    lab.start(configuration(*words, top=six(*words), more_globals=more_globals), kind=kind)
    lab.wait_master(patience=20)
    lab.wait_master(VIP6, patience=20)
    time.sleep(0.3)
    for address in (VIP, VIP6):
        assert answers(lab, address) is takes
        assert neighbour(lab, address) in ("REACHABLE", "DELAY", "STALE", "PROBE"), (
            "ARP and ND are always answered"
        )
    assert answers(lab, "10.77.0.1")


def test_a_reload_changes_it_and_the_end_leaves_nothing(lab: Host):
    lab.start(configuration("no_accept"))
    lab.wait_master(patience=20)
    eventually(lambda: not answers(lab, VIP), "refusing")
    lab.reload(configuration())
    eventually(lambda: answers(lab, VIP), "accepting after the reload")
    lab.reload(configuration("no_accept"))
    eventually(lambda: not answers(lab, VIP), "refusing again")
    lab.stop()
    assert "haagent" not in lab.run("nft", "list", "tables")


def test_a_program_of_the_master_cannot_speak_from_the_address(lab: Host):
    lab.start(configuration("no_accept"))
    lab.wait_master(patience=20)
    with inside(lab.far):
        hearing = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        hearing.bind(("10.77.0.2", 5000))
    with inside(lab.name):
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        speaking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        speaking.bind((VIP, 5001))
    with hearing, speaking, other:
        hearing.settimeout(0.4)
        other.sendto(b"own", ("10.77.0.2", 5000))
        assert hearing.recvfrom(16)[0] == b"own"
        with pytest.raises(PermissionError):  # what an output hook's drop looks like to the sender
            speaking.sendto(b"virtual", ("10.77.0.2", 5000))
        with pytest.raises(TimeoutError):
            hearing.recvfrom(16)
