"""The same file under keepalived and under haagent: after every event both hosts look the same.

Two equal hosts, one daemon each, the same events at the same time. Compared are addresses (length, label, scope,
interface), routes and rules with keepalived's protocol number, the lines of the FIFO, the calls of notify scripts, and
every different VRRP and ARP frame on both wires, byte by byte (but for what no two runs share, see ``Wires``). Each event says whether the virtual address must be there afterwards, so that two daemons that both do
nothing do not pass. To add a case, add a row to ``CASES``. Every fifth case runs by default, all of them with HAAGENT_FULL=1
(``make side-by-side``).
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dropin_lab import VIP, Host, Kind, host, ip
from wire import inside

pytestmark = [pytest.mark.netns, pytest.mark.keepalived]

STEADY, PATIENCE = 0.4, 12.0
ETH_P_ALL = 3
OWN = (bytes((10, 77, 0, 1)), bytes((10, 78, 0, 1)))
Event = tuple[str, bool]  # an action of ACTIONS, and whether the virtual address is there afterwards

ACTIONS: dict[str, Callable[[Host], object]] = {
    "start": lambda h: None,
    "lan down": lambda h: ip("-n", h.far, "link", "set", "lan", "down"),
    "lan up": lambda h: ip("-n", h.far, "link", "set", "lan", "up"),
    "wan down": lambda h: ip("-n", h.far, "link", "set", "wan", "down"),
    "wan up": lambda h: ip("-n", h.far, "link", "set", "wan", "up"),
    "own down": lambda h: ip("-n", h.name, "link", "set", "lan", "down"),
    "own up": lambda h: ip("-n", h.name, "link", "set", "lan", "up"),
    "healthy": lambda h: (h.directory / "healthy").touch(),
    "sick": lambda h: (h.directory / "healthy").unlink(missing_ok=True),
    "number 0": lambda h: (h.directory / "number").write_text("0\n"),
    "number 1": lambda h: (h.directory / "number").write_text("1\n"),
    "number -300": lambda h: (h.directory / "number").write_text("-300\n"),
    "reload": lambda h: h.reload((h.directory / "second").read_text()),
    "stop": lambda h: h.stop(),
}
OUTAGE: tuple[Event, ...] = (("start", True), ("lan down", False), ("lan up", True), ("stop", False))
SCRIPT = 'vrrp_script chk {\nscript "/usr/bin/test -e {dir}/healthy"\ninterval 1\nMORE\n}\n'


@dataclass(frozen=True)
class Case:
    """One configuration: what stands inside the instance, before it, and after a reload; and the events."""

    inside: str = ""
    top: str = ""
    addresses: str = f"{VIP}/32"
    events: tuple[Event, ...] = OUTAGE
    second: dict[str, str] = field(default_factory=dict)
    notify: bool = True
    steady: float = (
        STEADY  # s both must agree: longer than a script's interval, where the address does not tell
    )

    def text(self, **changes: str) -> str:
        part = {"inside": self.inside, "top": self.top, "addresses": self.addresses, **changes}
        return "\n".join((
            "global_defs {\nrouter_id here\nscript_user root\nenable_script_security\nvrrp_version 3",
            "vrrp_notify_fifo {dir}/fifo\n}", part["top"],
            "vrrp_instance VI_1 {\nstate BACKUP\ninterface lan\nvirtual_router_id 51\npriority 150\nadvert_int 0.1",
            *(f'notify_{s} "{{dir}}/notify.sh notify_{s}"' for s in ("master", "backup", "fault", "stop")),
            'notify "{dir}/notify.sh"', part["inside"],
            f"virtual_ipaddress {{\n{part['addresses']}\n}}\n}}\n",
        ))  # fmt: skip


OTHER = "vrrp_instance VI_2 {\nstate BACKUP\ninterface wan\nvirtual_router_id 52\npriority 140\nadvert_int 0.1\nvirtual_ipaddress {\n10.78.0.100/24\n}\n}\n"
GROUP = 'vrrp_sync_group G {\ngroup {\nVI_1\nVI_2\n}\nnotify "{dir}/notify.sh group"\nMORE\n}\n' + OTHER
WAN: tuple[Event, ...] = (("start", True), ("wan down", False), ("wan up", True), ("stop", False))
CHECKED: tuple[Event, ...] = (("start", True), ("sick", False), ("healthy", True), ("stop", False))

CASES = {
    "plain": Case(),
    "own interface": Case(events=(("start", True), ("own down", False), ("own up", True), ("stop", False))),
    "version 2 with a password": Case("version 2\nadvert_int 1\nauthentication {\nauth_type PASS\nauth_pass secret12\n}"),
    "unicast": Case("unicast_src_ip 10.77.0.1\nunicast_peer {\n10.77.0.2\n}"),
    "nopreempt": Case("nopreempt"),
    "virtual MAC, adverts from the base": Case("use_vmac mine\nvmac_xmit_base"),
    "not accepting": Case("no_accept"),
    "priority 255": Case("priority 255"),
    "address options": Case(
        addresses="10.77.0.100/24 brd + label lan:vip\n10.77.0.101/32 dev lan scope link\n10.78.0.100/25 dev wan brd 10.78.0.127"
    ),
    "excluded of both families": Case("virtual_ipaddress_excluded {\n10.77.0.110/24\nfd77::100/64 dev lan\n}"),
    "an address elsewhere": Case(addresses=f"{VIP}/32 dev wan", events=WAN),
    "tracked interface": Case("track_interface {\nwan\n}", events=WAN),
    "weighted interface": Case(
        "track_interface {\nwan weight -20\n}", events=(("start", True), ("wan down", True), ("wan up", True), ("stop", False))
    ),
    "own interface not tracked": Case("dont_track_primary", events=(("start", True), ("stop", False))),
    "script": Case("track_script {\nchk\n}", SCRIPT.replace("MORE", ""), events=CHECKED),
    "script with rise and fall": Case("track_script {\nchk\n}", SCRIPT.replace("MORE", "rise 2\nfall 2"), events=CHECKED),
    "weighted script": Case(
        "track_script {\nchk\n}", SCRIPT.replace("MORE", "weight -30"), steady=1.5,
        events=(("start", True), ("sick", True), ("healthy", True), ("stop", False)),
    ),
    "reversed script": Case(
        "track_script {\nchk weight 0 reverse\n}", SCRIPT.replace("MORE", ""),
        events=(("start", False), ("sick", True), ("healthy", False), ("stop", False)),
    ),
    "file": Case(
        "track_file {\nF\n}", "track_file F {\nfile {dir}/number\nweight 0\n}\n",
        events=(("start", True), ("number 1", False), ("number 0", True), ("stop", False)),
    ),
    "weighted file": Case(
        "track_file {\nF weight 1\n}", "track_file F {\nfile {dir}/number\n}\n",
        events=(("start", True), ("number 1", True), ("number 0", True), ("number -300", False), ("number 0", True), ("stop", False)),
    ),
    "sync group": Case(top=GROUP.replace("MORE", "")),
    "sync group, the other's link": Case(top=GROUP.replace("MORE", ""), events=WAN),
    "sync group with a script": Case(
        top=SCRIPT.replace("MORE", "") + GROUP.replace("MORE", "track_script {\nchk\n}"), events=CHECKED
    ),
    "routes and rules": Case(
        "virtual_routes {\n10.99.0.0/24 via 10.77.0.9 dev lan metric 7\nblackhole 10.98.0.0/16\n"
        f"src {VIP} 10.97.0.0/24 via 10.78.0.9 dev wan table 100\n}}\n"
        f"virtual_rules {{\nfrom {VIP} table 100 priority 1000\nto 10.99.0.0/24 iif wan fwmark 0x10 lookup 200 priority 1001\n}}"
    ),
    "static entries": Case(
        top="static_ipaddress {\n10.78.0.50/24 dev wan\n}\nstatic_routes {\n10.96.0.0/24 via 10.78.0.9 dev wan\n}\n"
        "static_rules {\nfrom 10.2.0.0/16 table 7 priority 8\n}\n"
    ),
    "reload: another address": Case(
        events=(("start", True), ("reload", True), ("stop", False)), second={"addresses": f"{VIP}/32\n10.77.0.101/32"}
    ),
    "reload: one address less": Case(
        addresses=f"{VIP}/32\n10.77.0.101/32", events=(("start", True), ("reload", True), ("stop", False)),
        second={"addresses": f"{VIP}/32"},
    ),
    "reload: another priority": Case(
        events=(("start", True), ("reload", True), ("stop", False)), second={"inside": "priority 120"}
    ),
    "reload: routes": Case(
        "virtual_routes {\n10.99.0.0/24 via 10.77.0.9\n}", events=(("start", True), ("reload", True), ("stop", False)),
        second={"inside": "virtual_routes {\n10.95.0.0/24 via 10.77.0.9\n}"},
    ),
    "preempt_delay": Case("preempt_delay 2"),
    "promote_secondaries": Case("promote_secondaries", addresses="10.77.0.100/24"),
    "two instances": Case(top=OTHER, events=(*WAN[:1], ("wan down", True), ("wan up", True), ("stop", False))),
}  # fmt: skip


class Wires:
    """The different VRRP (IPv4) and ARP frames a host has sent, as the far ends of its wires saw them.

    The MACs of both ends become zeros, as do the IPv4 identification and the checksum over it.
    """

    def __init__(self, seen_from: Host) -> None:
        self._macs: dict[str, list[bytes]] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._seen: set[tuple[str, str]] = set()
        for wire in ("lan", "wan"):
            ends = [ip("-n", end, "-j", "link", "show", wire) for end in (seen_from.name, seen_from.far)]
            self._macs[wire] = [bytes.fromhex(json.loads(e)[0]["address"].replace(":", "")) for e in ends]
            with inside(seen_from.far):
                opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
                opened.bind((wire, ETH_P_ALL))
            opened.setblocking(False)
            self._sockets[wire] = opened

    def look(self) -> list[str]:
        """Return everything different so far, as text."""
        for wire, opened in self._sockets.items():
            while True:
                try:
                    frame, origin = opened.recvfrom(2048)
                except BlockingIOError:
                    break
                except OSError:  # its end of the wire was down
                    continue
                if origin[2] != socket.PACKET_OUTGOING and (text := self._text(frame, self._macs[wire])):
                    self._seen.add((wire, text))
        return sorted(f"{wire} {text}" for wire, text in self._seen)

    @staticmethod
    def _text(frame: bytes, macs: list[bytes]) -> str:
        """Return a frame that is compared in hexadecimal, else nothing."""
        for mac in macs:
            frame = frame.replace(mac, bytes(6))
        plain = bytearray(frame)
        gratuitous = frame[12:14] == b"\x08\x06" and frame[28:32] == frame[38:42]
        if gratuitous and frame[28:32] not in OWN:  # those the kernel announces when a link comes up
            return plain[:42].hex()
        if frame[12:14] == b"\x08\x00" and frame[23] == 112:
            plain[18:20] = plain[24:26] = bytes(2)
            return plain[: 14 + int.from_bytes(frame[16:18], "big")].hex()
        return ""

    def close(self) -> None:
        for opened in self._sockets.values():
            opened.close()


class Side:
    """One daemon on its host, and what it did there so far."""

    def __init__(self, kind: Kind, made: Host, case: Case) -> None:
        self.kind, self.host, self.case = kind, made, case
        script = made.directory / "notify.sh"
        script.write_text(f'#!/bin/sh\necho "$@" >> {made.directory}/notify\n')
        script.chmod(0o755)
        for name in ("healthy", "number", "notify"):
            (made.directory / name).touch()
        (made.directory / "number").write_text("0\n")
        (made.directory / "second").write_text(case.text(**case.second))
        os.mkfifo(made.directory / "fifo", 0o600)
        self._fifo = os.open(made.directory / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        self._lines = b""
        ip(
            "-n", made.far, "addr", "add", "10.77.0.2/24", "dev", "lan"
        )  # who answers, so that unicast can be sent
        self._wires = Wires(made)
        made.start(case.text(), kind=kind)

    def act(self, action: str) -> None:
        ACTIONS[action](self.host)

    def look(self) -> dict[str, Any]:
        """Return everything that both sides must agree about."""
        seen: dict[str, Any] = {
            "addresses": self._addresses(),
            "routes": self._routes(),
            "rules": self._rules(),
            "frames": self._wires.look(),
        }
        if self.case.notify:
            # Per subject in order; keepalived starts the specific script and the generic one at the same time.
            seen["fifo"] = {
                word: [one for one in self._read() if one.startswith(word)] for word in self._subjects()
            }
            seen["notify"] = sorted((self.host.directory / "notify").read_text().splitlines())
        return seen

    def _subjects(self) -> list[str]:
        return sorted({" ".join(line.split()[:2]) for line in self._read()})

    def _read(self) -> list[str]:
        try:
            while piece := os.read(self._fifo, 65536):
                self._lines += piece
        except BlockingIOError:
            pass
        return self._lines.decode().splitlines()

    def _addresses(self) -> list[tuple[Any, ...]]:
        return sorted(
            (
                link["ifname"],
                a["local"],
                a["prefixlen"],
                a["scope"],
                a.get("label") or "",
                a.get("broadcast") or "",
            )
            for link in json.loads(ip("-n", self.host.name, "-j", "addr"))
            for a in link["addr_info"]
            if not a["local"].startswith("fe80")
        )

    def _routes(self) -> list[tuple[Any, ...]]:
        keys = ("type", "dst", "gateway", "dev", "table", "scope", "metric", "prefsrc")
        found = [*self.host.routes(), *self.host.routes("-6")]
        return sorted(
            tuple(str(r.get(k, "")) for k in keys) for r in found if r.get("protocol") in ("18", "keepalived")
        )

    def _rules(self) -> list[str]:
        return [*self.host.rules(), *self.host.rules("-6")]

    def has_vip(self) -> bool:
        return self.host.has_vip()

    def close(self) -> None:
        os.close(self._fifo)
        self._wires.close()


def agree(ours: Side, theirs: Side, *, vip: bool, steady: float) -> str:
    """Wait until both show the same for a while, with or without the address; return the difference if they do not."""
    until, since, difference = time.monotonic() + PATIENCE, 0.0, ""
    while time.monotonic() < until:
        one, two = ours.look(), theirs.look()
        right = one == two and ours.has_vip() is vip
        since = (since or time.monotonic()) if right else 0.0
        if since and time.monotonic() - since >= steady:
            return ""
        difference = "\n".join(
            f"{key}:\n  haagent    {one[key]}\n  keepalived {two[key]}" for key in one if one[key] != two[key]
        )
        difference = difference or f"both {'lack' if vip else 'have'} {VIP}"
        time.sleep(0.1)
    return difference


@pytest.mark.parametrize("name", CASES if os.environ.get("HAAGENT_FULL") else tuple(CASES)[::5])
def test_both_do_the_same(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    with ExitStack() as stack:
        sides = []
        for kind in ("haagent", "keepalived"):
            directory = tmp_path / kind
            directory.mkdir()
            side = Side(kind, stack.enter_context(host(directory)), case)  # type: ignore[arg-type]
            stack.callback(side.close)
            sides.append(side)
        for action, vip in case.events:
            for side in sides:
                side.act(action)
            difference = agree(*sides, vip=vip, steady=case.steady)
            assert not difference, (
                f"after {action!r}\n{difference}\n--- haagent\n{sides[0].host.text()[-1500:]}"
            )
        assert sides[0].look()["frames"], "no advert was ever seen"
