"""use_vmac on a real wire: the frames are keepalived's, and nothing of the virtual MAC outlives the claim."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from vmac_lab import (
    BEYOND,
    LEASE,
    MAC4,
    MAC6,
    VIP4,
    VIP6,
    VRID,
    Capture,
    Frame,
    Host,
    VmacLab,
    configuration,
    eventually,
    file_arbiter,
    vmac_lab,
)
from wire import inside, run

from haagent.lab.processes import NodeProcess

pytestmark = [pytest.mark.netns, pytest.mark.keepalived]

MACS = {4: MAC4, 6: MAC6}
VIPS = {4: VIP4, 6: VIP6}
VMAC = f"vrrp.{VRID}"
CLIENT_MAC = bytes.fromhex("026600000003")
BROADCAST = b"\xff" * 6
SETTINGS = ("arp_ignore", "arp_filter", "rp_filter", "accept_local", "promote_secondaries")


def master(host: Host, family: int = 4, patience: float = 25.0) -> None:
    eventually(lambda: host.has(VIPS[family]), f"{VIPS[family]} on {host.name}", patience, host)


def normal(frame: Frame) -> bytes:
    """Return the frame without what differs from packet to packet: IPv4 id and header checksum, IPv6 flow label."""
    data = bytearray(frame.data)
    if frame.kind == 0x0800:
        data[18:20] = data[24:26] = b"\0\0"
    if frame.kind == 0x86DD:
        data[15] &= 0xF0
        data[16:18] = b"\0\0"
    return bytes(data)


def of_vrrp(frames: list[Frame]) -> dict[str, set[bytes]]:
    """Return the distinct advertisements and announcements among the frames."""
    found: dict[str, set[bytes]] = {"adverts": set(), "announcements": set()}
    for frame in frames:
        ipv4, ipv6 = frame.kind == 0x0800, frame.kind == 0x86DD
        if (ipv4 and frame.data[23] == 112) or (ipv6 and frame.data[20] == 112):
            found["adverts"].add(normal(frame))
        elif frame.kind == 0x0806 or (ipv6 and frame.data[20] == 58 and frame.data[54] == 136):
            found["announcements"].add(normal(frame))
    return found


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("words", [("use_vmac",), ("use_vmac", "vmac_xmit_base")], ids="+".join)
def test_master_sends_the_frames_that_keepalived_sends(tmp_path: Path, family: int, words: tuple[str, ...]):
    seen, settings = {}, {}
    with vmac_lab(tmp_path, hosts=1) as lab:
        host = lab.hosts[0]
        untouched = [host.setting("lan", name) for name in SETTINGS]
        for kind in ("keepalived", "haagent"):
            capture = lab.capture(host)
            host.start(configuration(150, *words, family=family), kind)
            master(host, family)
            assert host.has(VIPS[family]) == VMAC
            assert not host.has("fe80::200:5eff:fe00:233"), (
                "the MAC must not make an address: all nodes have it"
            )
            eventually(lambda capture=capture: of_vrrp(capture.frames())["adverts"], "an advertisement")
            time.sleep(0.7)
            found = of_vrrp(capture.frames())
            seen[kind] = {
                "adverts": found["adverts"],
                "announcements": {one for one in found["announcements"] if one[6:12] == MACS[family]},
            }
            settings[kind] = [host.setting(device, name) for device in (VMAC, "lan") for name in SETTINGS]
            host.stop()
            assert host.links() == ["lan", "lo", "wan"]
            if kind == "haagent":  # keepalived 2.2.7 leaves its settings behind
                assert [host.setting("lan", name) for name in SETTINGS] == untouched
            for name, value in zip(SETTINGS, untouched, strict=True):
                run("ip", "netns", "exec", host.name, "sysctl", "-qw", f"net.ipv4.conf.lan.{name}={value}")
    assert seen["haagent"] == seen["keepalived"]
    assert len(seen["haagent"]["adverts"]) == 1
    assert len(seen["haagent"]["announcements"]) == (1 if family == 4 else 2)
    if family == 4:
        assert settings["haagent"] == settings["keepalived"]


# -- when the claim is over


class Questions:
    """A client that keeps provoking frames of a virtual MAC: ARP, neighbour solicitations, queries, packets to route."""

    def __init__(self, lab: VmacLab, client: Host, family: int) -> None:
        self._family, self._stop = family, threading.Event()
        self.asked: list[tuple[int, int]] = []  # ns; before and after all frames of a round were sent
        with inside(client.name):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.bind(("lan", 0))
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _ask(self) -> None:
        frames = self._frames()
        while not self._stop.wait(0.01):
            before = time.time_ns()
            for frame in frames:
                self._socket.send(frame)
            self.asked.append((before, time.time_ns()))

    def _frames(self) -> list[bytes]:
        to_route = _ipv4(MACS[self._family], "10.66.0.3", BEYOND, 17, bytes(8))
        if self._family == 6:
            target = socket.inet_pton(socket.AF_INET6, VIP6)
            solicited = b"\x33\x33\xff" + target[13:]
            group = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:0")[:13] + target[13:]
            asks = bytes((135, 0, 0, 0)) + bytes(4) + target + b"\1\1" + CLIENT_MAC
            query = bytes((130, 0, 0, 0)) + struct.pack(">HH", 10, 0) + bytes(16)
            everybody = socket.inet_pton(socket.AF_INET6, "ff02::1")
            return [
                to_route,
                _ipv6(solicited, group, asks),
                _ipv6(b"\x33\x33\0\0\0\1", everybody, query, hops=1),
            ]
        who_has = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + CLIENT_MAC + socket.inet_aton("10.66.0.3")
        who_has += bytes(6) + socket.inet_aton(VIP4)
        query = bytes((0x11, 10, 0xEE, 0xF5)) + bytes(4)
        echo = bytes((8, 0)) + _checksum(bytes((8, 0, 0, 0, 0, 1, 0, 1))) + bytes((0, 1, 0, 1))
        return [
            to_route,
            BROADCAST + CLIENT_MAC + b"\x08\x06" + who_has,
            _ipv4(bytes.fromhex("01005e000001"), "10.66.0.3", "224.0.0.1", 2, query),
            _ipv4(MAC4, "10.66.0.3", VIP4, 1, echo),
        ]


def _checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)


def _ipv4(mac: bytes, source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    if protocol == 17:
        payload = struct.pack(">HHHH", 9, 9, 8 + len(payload), 0) + payload
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + ends
    head = head[:10] + _checksum(head) + head[12:]
    return mac + CLIENT_MAC + b"\x08\x00" + head + payload


def _ipv6(mac: bytes, group: bytes, message: bytes, hops: int = 255) -> bytes:
    source = socket.inet_pton(socket.AF_INET6, "fe80::66:ff:fe00:3")
    pseudo = source + group + struct.pack(">II", len(message), 58)
    message = message[:2] + _checksum(pseudo + message) + message[4:]
    return (
        mac
        + CLIENT_MAC
        + b"\x86\xdd"
        + struct.pack(">IHBB", 6 << 28, len(message), 58, hops)
        + source
        + group
        + message
    )


@contextmanager
def pair(
    directory: Path, family: int, gate: str, lease: float = LEASE
) -> Iterator[tuple[VmacLab, Callable[[], None], Questions]]:
    """Two agents with one arbiter, the first one MASTER, and a client that provokes."""
    with vmac_lab(directory, hosts=3) as lab:
        one, two, client = lab.hosts
        for host, priority in ((one, 150), (two, 140)):
            host.start(
                configuration(priority, "use_vmac", family=family) + file_arbiter(directory, gate, lease)
            )
        master(one, family, patience=25)
        questions = Questions(lab, client, family)
        try:
            yield lab, lambda: master(two, family), questions
        finally:
            questions.close()


def from_mac(capture: Capture, mac: bytes) -> list[int]:
    return [frame.at for frame in capture.frames() if frame.source == mac]


def routed(capture: Capture) -> list[int]:
    """Return when packets for BEYOND came out on the other side."""
    wanted = socket.inet_aton(BEYOND)
    return [frame.at for frame in capture.frames() if frame.kind == 0x0800 and frame.data[30:34] == wanted]


CASES = [(4, "bpf", "killed"), (6, "nftables", "stopped")]
MORE_CASES = [(6, "bpf", "killed"), (4, "nftables", "killed"), (4, "bpf", "stopped"), (6, "bpf", "stopped")]


@pytest.mark.parametrize(
    ("family", "gate", "how"), CASES + (MORE_CASES if os.environ.get("HAAGENT_FULL") else [])
)
def test_nothing_of_the_virtual_mac_passes_when_the_claim_is_over(
    tmp_path: Path, family: int, gate: str, how: str
):
    with pair(tmp_path, family, gate) as (lab, second_is_master, _):
        one, two, _ = lab.hosts
        assert one.up()
        assert not two.up()
        captures = [lab.capture(one), lab.capture(two)]
        beyond = [lab.capture_beyond(one), lab.capture_beyond(two)]
        time.sleep(0.5)
        assert one.process is not None
        before = time.time_ns()
        if how == "killed":
            one.process.kill()
        else:
            one.process.freeze()
        ended = time.time_ns()
        second_is_master()
        taken = time.time_ns()
        time.sleep(1.0)
        assert one.up(), "nobody was there to set it down: only the gate keeps it silent"
        _judge(captures, from_mac, MACS[family], (before, ended, taken))
        _judge(beyond, lambda capture, _: routed(capture), b"", (before, ended, taken))
        if how == "stopped":
            one.process.thaw()
        else:
            one.start(configuration(130, "use_vmac", family=family) + file_arbiter(tmp_path, gate))
            eventually(lambda: not one.up(), "setting the left-over interface down")
            time.sleep(0.5)
        if how == "stopped":  # it has the better priority, so it gets the claim back: by handover
            master(one, family, patience=20)
            eventually(lambda: not two.up(), "setting the other node's interface down")
        overlap = _overlap(from_mac(captures[0], MACS[family]), from_mac(captures[1], MACS[family]))
        assert overlap == 0, f"the virtual MAC changed its place {overlap} times more than it was handed over"


def _judge(
    captures: list[Capture], read: Callable[..., list[int]], mac: bytes, times: tuple[int, int, int]
) -> None:
    """The first node's traffic ended within the lease, before the second's began, and never came back.

    ``times``: before the first one's agent was ended, after that, and when the second one had taken over.
    """
    before, ended, taken = times
    old, new = (read(capture, mac) for capture in captures)
    assert [at for at in old if at < before], "the client provoked nothing: the test cannot fail"
    assert [at for at in new if at > taken], "the new MASTER passed nothing"
    print(
        f"last frame {(max(old) - ended) / 1e6:.0f} ms after, first of the other {(min(new) - ended) / 1e6:.0f} ms"
    )
    assert max(old) - ended < LEASE * 1e9
    assert max(old) < min(new)


def _overlap(first: list[int], second: list[int]) -> int:
    """Return how often the sender changed beyond away and back."""
    senders = [name for _, name in sorted([(at, 1) for at in first] + [(at, 2) for at in second])]
    changes = sum(before != after for before, after in pairwise(senders))
    return max(0, changes - 2)


# -- the life of the interface


def test_a_killed_worker_leaves_the_interface_up_for_the_next_one(tmp_path: Path):
    lease = 3.0  # outlives the start of a worker on a busy machine
    with pair(tmp_path, 4, "auto", lease) as (lab, _, questions):
        one, two, _ = lab.hosts
        capture = lab.capture(one)
        index = run("ip", "-n", one.name, "-o", "link", "show", "dev", VMAC).split(":")[0]
        time.sleep(0.3)
        os.kill(one.worker(), signal.SIGKILL)
        began = time.time_ns()
        time.sleep(1.5 * lease)
        asked = [times for times in questions.asked if began < times[1] < time.time_ns() - 0.3e9]
        answers = from_mac(capture, MAC4)
        assert len(asked) > 20
        assert [times for times in asked if not _within(answers, times[0], times[1] + 200_000_000)] == []
        assert run("ip", "-n", one.name, "-o", "link", "show", "dev", VMAC).split(":")[0] == index
        assert not two.up()


def _within(moments: list[int], begin: int, end: int) -> bool:
    """Tell whether one of the moments, in order, lies between."""
    at = bisect_left(moments, begin)
    return at < len(moments) and moments[at] <= end


def test_interfaces_of_an_earlier_configuration_are_removed_at_the_start(tmp_path: Path):
    with vmac_lab(tmp_path, hosts=1) as lab:
        host = lab.hosts[0]
        host.start(configuration(150, "use_vmac other"))
        eventually(lambda: host.has(VIP4), "MASTER")
        assert host.has(VIP4) == "other"
        assert host.process is not None
        host.process.kill()
        host.start(configuration(150, "use_vmac"))
        eventually(lambda: host.has(VIP4) == VMAC, "MASTER on the new interface")
        assert "other" not in host.links()
        host.process.kill()
        cleared = run("ip", "netns", "exec", host.name, *_cli(), "gate", "clear", "--yes")
        assert f"removed virtual MAC interface {VMAC}" in cleared
        assert host.links() == ["lan", "lo", "wan"]


def _cli() -> tuple[str, ...]:
    import sys

    return (sys.executable, "-m", "haagent")


@pytest.mark.parametrize(
    "harm", [("link", "set", "dev", VMAC, "down"), ("link", "del", "dev", VMAC)], ids=lambda w: w[1]
)
def test_an_interface_that_somebody_takes_away_is_put_back(tmp_path: Path, harm: tuple[str, ...]):
    with vmac_lab(tmp_path, hosts=1) as lab:
        host = lab.hosts[0]
        host.start(configuration(150, "use_vmac", family=6))
        master(host, 6)
        capture = lab.capture(host)
        run("ip", "-n", host.name, *harm)
        eventually(lambda: host.up() and host.has(VIP6) == VMAC, "putting the interface and its address back")
        begun = time.time_ns()
        eventually(lambda: [at for at in from_mac(capture, MAC6) if at > begun], "advertising again")


def test_reload_takes_the_virtual_mac_off_and_puts_it_on(tmp_path: Path):
    with vmac_lab(tmp_path, hosts=1) as lab:
        host = lab.hosts[0]
        host.start(configuration(150))
        eventually(lambda: host.has(VIP4) == "lan", "MASTER without a virtual MAC")
        assert host.process is not None
        for words, device in ((("use_vmac",), VMAC), ((), "lan")):
            (host.directory / "c.conf").write_text(configuration(150, *words))
            os.kill(host.process.pid, signal.SIGHUP)
            eventually(
                lambda device=device: host.has(VIP4) == device,
                f"the address on {device}\n{host.text()[-1500:]}",
            )
        eventually(lambda: host.links() == ["lan", "lo", "wan"], "removing the interface")


def test_addresses_on_other_interfaces_get_a_virtual_mac_of_their_own(tmp_path: Path):
    """use_vmac_addr, and vmac_prefix for the names."""
    with vmac_lab(tmp_path, hosts=1) as lab:
        host = lab.hosts[0]
        addresses = (f"{VIP4}/32", "10.67.0.100/32 dev wan")
        capture = lab.capture_beyond(host)
        top = "global_defs {\nvmac_prefix own\nvmac_addr_prefix far\n}"
        host.start(configuration(150, "use_vmac", "use_vmac_addr", addresses=addresses, top=top))
        eventually(lambda: host.has("10.67.0.100"), "MASTER", host=host)
        assert (host.has(VIP4), host.has("10.67.0.100")) == (f"own.{VRID}", f"far.{VRID}")
        announced = eventually(
            lambda: [f for f in capture.frames() if f.kind == 0x0806 and f.source == MAC4],
            "an announcement on wan",
        )
        assert announced[0].data[28:32] == socket.inet_aton("10.67.0.100")


def test_an_interface_that_is_not_ours_is_not_touched(tmp_path: Path):
    with vmac_lab(tmp_path, hosts=1) as lab:
        host = lab.hosts[0]
        run("ip", "-n", host.name, "link", "add", "name", VMAC, "type", "bridge")
        host.start(configuration(150, "use_vmac"))
        assert isinstance(host.process, NodeProcess)
        process = host.process
        eventually(lambda: not process.alive, "refusing to start")
        assert f"interface {VMAC} exists and is no virtual MAC interface" in host.text()
        assert VMAC in host.links()


@pytest.mark.parametrize("family", [4, 6])
def test_keepalived_and_haagent_elect_each_other_with_virtual_macs(tmp_path: Path, family: int):
    with vmac_lab(tmp_path, hosts=2) as lab:
        one, two = lab.hosts
        two.start(configuration(140, "use_vmac", family=family), "keepalived")
        master(two, family)
        one.start(configuration(150, "use_vmac", family=family))
        master(one, family)
        eventually(lambda: not two.has(VIPS[family]), "keepalived giving way to the better haagent")
        one.stop()
        master(two, family)
        two.stop()
        two.start(configuration(160, "use_vmac", family=family), "keepalived")
        one.start(configuration(150, "use_vmac", family=family))
        master(two, family)
        time.sleep(1.0)
        assert not one.has(VIPS[family])
        assert not one.up()


def test_a_master_hears_another_that_has_the_same_virtual_mac(tmp_path: Path):
    """Linux hands frames from our own virtual MAC to its interface alone: a second MASTER must be heard there."""
    with vmac_lab(tmp_path, hosts=2) as lab:
        one, two = lab.hosts
        run("ip", "-n", lab.switch, "link", "set", one.port, "nomaster")
        for host, priority in ((one, 150), (two, 140)):
            host.start(configuration(priority, "use_vmac"))
            master(host)
        run("ip", "-n", lab.switch, "link", "set", one.port, "master", "hub")
        eventually(lambda: not two.has(VIP4), "the worse MASTER giving way")
        assert one.has(VIP4)
        assert not two.up()
