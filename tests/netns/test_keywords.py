"""Keywords of keepalived whose behaviour shows on the wire or in time: each on a real kernel, against a scripted peer.

The peer is a raw socket at the other end of ``lan``; what the daemon sends is captured there.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path

import pytest
from dropin_lab import VIP, Host, configuration, eventually, host, ip
from vmac_lab import Capture
from wire import inside

from haagent.core.packet import Packet, encode
from haagent.core.units import SECOND

pytestmark = pytest.mark.netns
GROUP, HERE, PEER, STRANGER = "224.0.0.18", "10.77.0.1", "10.77.0.2", "10.77.0.3"


INTERVAL = (
    0.3  # s; what the peer says of its own advertisements: how long one of them may be late on a busy machine
)


class Lab:
    """One host and its peer."""

    def __init__(self, here: Host) -> None:
        self.here = here
        for address in (PEER, STRANGER):
            ip("-n", here.far, "addr", "add", f"{address}/24", "dev", "lan")
        self._capture = Capture(here.far, "lan")

    def advertise(
        self,
        priority: int,
        *,
        source: str = PEER,
        to: str = GROUP,
        addresses: tuple[str, ...] = (VIP,),
        ttl: int = 255,
    ) -> None:
        """Send one advertisement of the same virtual router."""
        packet = Packet(3, 51, priority, int(INTERVAL * SECOND), tuple(IPv4Address(one) for one in addresses))
        data = encode(packet, source=IPv4Address(source), destination=IPv4Address(to))
        with inside(self.here.far):
            sending = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
        with sending:
            sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
            sending.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
            sending.bind((source, 0))
            sending.sendto(data, (to, 0))

    def advertise_for(self, seconds: float, priority: int, **how: object) -> None:
        """Be a MASTER for a while."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.advertise(priority, **how)  # type: ignore[arg-type]
            time.sleep(0.08)

    def adverts(self, since: float = 0) -> list[tuple[float, bytes]]:
        """Return (wall clock, frame) of the host's advertisements."""
        frames = [(frame.at / 1e9, frame.data) for frame in self._capture.frames() if frame.kind == 0x0800]
        return [(at, data) for at, data in frames if data[23] == 112 and at >= since]

    def announcements(self, since: float = 0) -> list[float]:
        """Return when the host announced the address."""
        wanted = socket.inet_aton(VIP)
        frames = [
            frame for frame in self._capture.frames() if frame.kind == 0x0806 and frame.data[28:32] == wanted
        ]
        return [frame.at / 1e9 for frame in frames if frame.at / 1e9 >= since]

    def close(self) -> None:
        self._capture.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with host(tmp_path) as here:
        made = Lab(here)
        yield made
        made.close()


def bursts(times: list[float], apart: float = 0.15) -> list[tuple[float, int]]:
    """Return (seconds after the first, size) of groups of moments."""
    found: list[tuple[float, int]] = []
    for number, at in enumerate(times):
        if number == 0 or at - times[number - 1] > apart:
            found.append((at - times[0], 0))
        found[-1] = (found[-1][0], found[-1][1] + 1)
    return found


# -- announcements


def test_announcements_come_in_the_bursts_that_were_asked_for(lab: Lab):
    """garp_master_refresh, _refresh_repeat; vrrp_garp_master_repeat, _delay in global_defs; no pause in between."""
    more = "vrrp_garp_master_repeat 3\nvrrp_garp_master_delay 1\nvrrp_garp_interval 0\nvrrp_gna_interval 0"
    words = ("garp_master_refresh 2", "garp_master_refresh_repeat 2")
    lab.here.start(configuration(*words, more_globals=more))
    lab.here.wait_master(patience=20)
    time.sleep(4.6)
    found = bursts(lab.announcements())
    large = [(round(at), size) for at, size in found if size > 1]
    assert large == [(0, 3), (1, 3), (2, 2), (4, 2)], found


@pytest.mark.parametrize("where", ["global_defs", "garp_group"])
def test_announcements_keep_their_pace(lab: Lab, where: str):
    """vrrp_garp_interval, garp_group: the rounds of a burst are spread, and the first leaves at once."""
    more, top = "vrrp_garp_master_repeat 4\nvrrp_garp_master_delay 0", ""
    if where == "global_defs":
        more += "\nvrrp_garp_interval 0.1"
    else:
        top = "garp_group {\ngarp_interval 0.1\ninterfaces {\nlan\n}\n}\n"
    lab.here.start(configuration(more_globals=more, top=top))
    lab.here.wait_master(patience=20)
    time.sleep(0.8)
    times = lab.announcements()[:4]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(pauses) == 3
    assert all(pause > 0.095 for pause in pauses), pauses


@pytest.mark.parametrize("where", ["vrrp_", ""], ids=["global_defs", "instance"])
def test_a_worse_master_is_announced_over(lab: Lab, where: str):
    """garp_lower_prio_repeat, garp_lower_prio_delay, here or there, and the script that a MASTER runs then.

    It also says at once who is MASTER, and repeats its announcements (vrrp_garp_master_refresh).
    """
    words = [
        f"{where}garp_{word}" for word in ("master_delay 0", "lower_prio_repeat 4", "lower_prio_delay 1")
    ]
    # the refresh comes 3 s after the take-over, between the answers to what the peer says after 2.6 s
    inside_it = ['notify_master_rx_lower_pri "/usr/bin/touch {dir}/lower"', "advert_int 1.3"]
    more = ["vrrp_garp_master_refresh 3"]
    (more if where else inside_it).extend(words)
    lab.here.start(configuration(*inside_it, more_globals="\n".join(more)))
    lab.here.wait_master(patience=20)
    time.sleep(1.5)  # until what follows a take-over is over
    regular, before = advertise_after_the_next(lab, 100)
    time.sleep(2.2)
    found = bursts(lab.announcements(before))
    assert [(round(at), size) for at, size in found if size > 1] == [(0, 4), (1, 4)]
    assert 1 in [size for _, size in found]
    assert [at for at, _ in lab.adverts(before) if at < regular + 1.2], "no advertisement but the regular one"
    eventually((lab.here.directory / "lower").exists, "the script")


def test_a_master_may_keep_silent_towards_a_worse_one_and_yield_in_silence(lab: Lab):
    """lower_prio_no_advert, vrrp_higher_prio_send_advert off: no advertisement but the regular ones."""
    more = "vrrp_higher_prio_send_advert off"
    lab.here.start(configuration("lower_prio_no_advert", "advert_int 1", more_globals=more))
    lab.here.wait_master(patience=20)
    for priority in (100, 200):
        regular, before = advertise_after_the_next(lab, priority)
        time.sleep(0.6)
        assert [at for at, _ in lab.adverts(before) if at < regular + 0.9] == []
        eventually(
            lambda priority=priority: lab.here.has_vip() is (priority == 100),
            "yielding to the better one alone",
        )


def test_a_master_yields_to_a_better_one_aloud(lab: Lab):
    """higher_prio_send_advert, on by default: one advertisement more, which makes the better one announce itself."""
    lab.here.start(configuration("advert_int 1"))
    lab.here.wait_master(patience=20)
    regular, before = advertise_after_the_next(lab, 200)
    lab.here.wait_gone()
    assert len([at for at, _ in lab.adverts(before) if at < regular + 0.9]) == 1


def advertise_after_the_next(lab: Lab, priority: int) -> tuple[float, float]:
    """Advertise once right after the host's next advertisement; return when either was: for an interval none is due."""
    first = len(lab.adverts())
    regular = eventually(lambda: lab.adverts()[first:], "the next advertisement")[0][0]
    before = time.time()
    lab.advertise(priority)
    return regular, before


# -- what is listened to


@pytest.mark.parametrize("where", ["global_defs", "instance"])
def test_an_advertisement_with_other_addresses_counts_if_it_shall(lab: Lab, where: str):
    """skip_check_adv_addr: a peer whose list of addresses differs is a MASTER all the same."""
    other = (VIP, "10.77.0.111")
    if where == "instance":
        lab.here.start(configuration("skip_check_adv_addr", "priority 100"))
    else:
        lab.here.start(configuration("priority 100", more_globals="vrrp_skip_check_adv_addr"))
    eventually(lambda: "Entering BACKUP" in lab.here.text(), "the start", 20)
    lab.advertise_for(2.0, 200, addresses=other)
    assert not lab.here.has_vip()
    lab.here.wait_master(patience=20)


@pytest.mark.parametrize(("words", "heard"), [(("check_unicast_src",), False), ((), True)], ids=["on", "off"])
def test_only_peers_are_heard(lab: Lab, words: tuple[str, ...], heard: bool):
    """unicast_peer, unicast_src_ip, check_unicast_src here and there; the nearer one counts."""
    unicast = (f"unicast_src_ip {HERE}", f"unicast_peer {{\n{PEER}\n}}")
    lab.here.start(configuration(*unicast, *words, more_globals="vrrp_check_unicast_src off"))
    eventually(lambda: "Entering BACKUP" in lab.here.text(), "the start", 20)
    until = time.monotonic() + (1.5 if heard else 20)
    while not lab.here.has_vip() and time.monotonic() < until:
        lab.advertise_for(0.1, 200, source=STRANGER, to=HERE)
    assert lab.here.has_vip() is not heard
    lab.advertise_for(1.0, 200, to=HERE)
    assert not lab.here.has_vip()
    lab.here.wait_master(patience=20)
    assert {data[30:34] for _, data in lab.adverts()} == {socket.inet_aton(PEER)}
    assert {data[26:30] for _, data in lab.adverts()} == {socket.inet_aton(HERE)}


def test_a_peer_from_too_far_away_is_not_heard(lab: Lab):
    """min_ttl of a unicast_peer: what came over more hops than that counts for nothing."""
    lab.here.start(configuration(f"unicast_src_ip {HERE}", f"unicast_peer {{\n{PEER} min_ttl 250\n}}"))
    eventually(lambda: "Entering BACKUP" in lab.here.text(), "the start", 20)
    until = time.monotonic() + 20
    while not lab.here.has_vip() and time.monotonic() < until:
        lab.advertise_for(0.1, 200, to=HERE, ttl=249)
    assert lab.here.has_vip()
    lab.advertise_for(1.0, 200, to=HERE, ttl=250)
    assert not lab.here.has_vip()


def test_groups_sources_and_versions(lab: Lab):
    """vrrp_mcast_group4, mcast_src_ip, vrrp_version, virtual_router_id and priority are in the packet."""
    ip("-n", lab.here.name, "addr", "add", "10.77.0.7/24", "dev", "lan")
    words = ("version 2", "advert_int 1", "mcast_src_ip 10.77.0.7")
    lab.here.start(configuration(*words, more_globals="vrrp_mcast_group4 224.0.0.99\nmax_auto_priority 50"))
    lab.here.wait_master(patience=20)
    _, data = eventually(lab.adverts, "an advertisement")[-1]
    assert (data[30:34], data[26:30]) == (socket.inet_aton("224.0.0.99"), socket.inet_aton("10.77.0.7"))
    assert tuple(data[34:38]) == (0x21, 51, 150, 1)
    assert lab.here.addresses("lan") == ["lan 10.77.0.1/24", f"lan {VIP}/32", "lan 10.77.0.7/24"]


# -- when


def test_an_owner_does_not_wait(lab: Lab):
    """priority 255: MASTER at once, not after the Master_Down_Interval, which is 3 s here."""
    lab.here.start(configuration("priority 255", "advert_int 1"))
    eventually(lambda: "Entering MASTER" in lab.here.text(), "the log's line")
    assert logged(lab, "Entering MASTER") - logged(lab, "") < timedelta(seconds=3)
    lab.advertise_for(0.5, 254)
    assert lab.here.has_vip()


def logged(lab: Lab, words: str) -> datetime:
    """Return when the host first logged something with these words."""
    records = (json.loads(line) for line in lab.here.text().splitlines() if line.startswith("{"))
    return next(datetime.fromisoformat(record["time"]) for record in records if words in record["message"])


def test_a_start_may_be_delayed(lab: Lab):
    """vrrp_startup_delay: three seconds without an election."""
    lab.here.start(configuration(more_globals="vrrp_startup_delay 3"))
    eventually(lambda: "Entering MASTER" in lab.here.text(), "the log's line", 20)
    assert logged(lab, "Entering MASTER") - logged(lab, "Entering BACKUP") > timedelta(seconds=2.5)


def test_a_check_that_hangs_is_a_failed_one_and_init_fail_waits_for_the_first(lab: Lab):
    """timeout, init_fail, interval, user."""
    slow = lab.here.directory / "slow.sh"
    slow.write_text(
        '#!/bin/sh\nid -un > {d}/who\nsleep "$(cat {d}/seconds)"\n'.replace("{d}", str(lab.here.directory))
    )
    slow.chmod(0o755)
    (lab.here.directory / "seconds").write_text("1.5")
    top = f'vrrp_script chk {{\nscript "{slow}"\ninterval 1\ntimeout 2\ninit_fail\nuser root\n}}\n'
    begun = time.monotonic()
    lab.here.start(configuration("track_script {\nchk\n}", top=top))
    lab.here.wait_master(patience=20)
    assert time.monotonic() - begun > 1.5
    assert (lab.here.directory / "who").read_text().strip() == "root"
    (lab.here.directory / "seconds").write_text("30")
    lab.here.wait_gone()
    eventually(lambda: "FAULT" in lab.here.text(), "the log's line")


def test_a_better_node_waits_before_it_preempts(lab: Lab):
    """preempt, preempt_delay: the worse node is heard and left alone for that long. native_ipv6 has no effect."""
    lab.here.start(configuration("preempt", "preempt_delay 2", "native_ipv6"))
    begun = time.monotonic()
    lab.advertise_for(1.8, 100)
    assert not lab.here.has_vip()
    while not lab.here.has_vip():
        assert time.monotonic() - begun < 25
        lab.advertise_for(0.1, 100)
    assert time.monotonic() - begun > 2.0


def test_includes_and_conditions_make_the_configuration(lab: Lab):
    """include, @ID, @^ID and $NAME: read as on the host they are for."""
    part = lab.here.directory / "part.conf"
    part.write_text("@here priority 77\n@^here priority 33\n")
    text = "$FILES=" + f"{lab.here.directory}/part*.conf\n" + configuration("include $FILES", priority=100)
    lab.here.start(text.replace("include $FILES", f"include {part}"), "--config-id", "here")
    lab.here.wait_master(patience=20)
    assert lab.here.instance()["priority"] == 77


def test_an_instance_that_a_reload_removes_says_so(lab: Lab):
    """notify_deleted."""
    lab.here.start(configuration('notify_deleted "/usr/bin/touch {dir}/deleted"'))
    lab.here.wait_master(patience=20)
    lab.here.reload(configuration().replace("VI_1", "VI_2"))
    eventually((lab.here.directory / "deleted").exists, "the script")
    lab.here.wait_master(patience=20)
