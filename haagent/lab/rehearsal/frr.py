"""FRR's vrrpd on a node of a rehearsal: the nearest thing it can do to the node's own configuration.

It has no sync groups, scripts to track, unicast or passwords; only IPv4 is played. FRR wants one macvlan device with the
virtual MAC and the addresses per instance, made beforehand, and takes its carrier away on a standby: the address itself
stays. With more than one device on a network Linux answers ARP by any of them, so ``arp_ignore`` is set as FRR's users
have to. zebra and vrrpd run below one shell, as the user the package made for them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from haagent.config.model import VrrpInstance
from haagent.core.units import MILLISECOND
from haagent.lab.daemons import OnNode
from haagent.lab.namespaces import LabError, run, sysctl
from haagent.lab.topology import Node

DAEMONS = Path("/usr/lib/frr")  # where Debian's package has them; not in any PATH
USER = "frr"
HIGHEST = 254  # 255 is the owner's, and FRR finds that out by itself
STEP, SLOWEST = 10, 40950  # ms: its adverts' granularity and limit
TOP = """#!/bin/sh
trap 'kill $vrrpd 2>/dev/null; wait $vrrpd; kill $zebra 2>/dev/null; wait' TERM
rm -f {directory}/zserv
{zebra} & zebra=$!
tries=0
until [ -S {directory}/zserv ] || [ $tries -ge 100 ]; do sleep 0.05; tries=$((tries + 1)); done
{vrrpd} & vrrpd=$!
wait
"""


class Frr(OnNode):
    """zebra and vrrpd of one node."""

    kind = "frr"

    def __init__(self, node: Node, directory: Path, instances: Sequence[VrrpInstance]) -> None:
        if not (DAEMONS / "vrrpd").exists():
            raise LabError("FRR is not installed; on Debian: apt install frr")
        super().__init__(node, directory)
        self._top = directory / "frr.sh"
        self._prepare(instances)
        directory.parent.chmod(0o711)  # FRR's daemons give root up before they open anything
        shutil.chown(directory, USER, USER)
        files = {"zebra": "", "vrrpd": configuration(instances)}
        for name, text in files.items():
            (directory / f"{name}.conf").write_text(text)
        self._top.write_text(
            TOP.format(directory=directory, **{name: " ".join(self._words(name)) for name in files})
        )

    def _prepare(self, instances: Sequence[VrrpInstance]) -> None:
        namespace = self.node.namespace
        for key in ("arp_ignore", "arp_announce"):
            sysctl(namespace, f"net.ipv4.conf.all.{key}", 1)
        for number, one in enumerate(instances, 1):
            device, mac = f"vrrp4-{number}", f"00:00:5e:00:01:{one.vrid:02x}"
            macvlan = ("type", "macvlan", "mode", "bridge")
            run("ip", "-n", namespace, "link", "add", device, "link", one.interface, *macvlan)
            run("ip", "-n", namespace, "link", "set", device, "address", mac)
            for address in _four(one):
                run("ip", "-n", namespace, "addr", "add", f"{address}/32", "dev", device)
            run("ip", "-n", namespace, "link", "set", device, "up")

    def _words(self, name: str) -> Iterator[str]:
        yield from (
            f"{DAEMONS / name}",
            f"-f {self.directory}/{name}.conf",
            f"-i {self.directory}/{name}.pid",
        )
        yield from (f"-z {self.directory}/zserv", f"--vty_socket {self.directory}", "-P 0", "--log stdout")

    def argv(self) -> tuple[str, ...]:
        return ("/bin/sh", str(self._top))


def _four(one: VrrpInstance) -> list[IPv4Address]:
    found = [a.address for a in one.addresses if isinstance(a.address, IPv4Address)]
    if not found:
        raise LabError(f"frr: {one.name} has no IPv4 address, and only those are played")
    return found


def configuration(instances: Sequence[VrrpInstance]) -> str:
    """Return what vrrpd reads. Raises LabError for an instance without an IPv4 address."""
    return "".join(f"interface {one.interface}\n{_block(one)}exit\n" for one in instances)


def _block(one: VrrpInstance) -> str:
    interval = max(STEP, min(SLOWEST, round(one.advert_interval / MILLISECOND / STEP) * STEP))
    words = (
        f"version {one.version}",
        f"priority {min(one.priority, HIGHEST)}",
        f"advertisement-interval {interval}",
        *(f"ip {address}" for address in _four(one)),
    )
    preempt = "" if one.preempt else f" no vrrp {one.vrid} preempt\n"
    return "".join(f" vrrp {one.vrid} {word}\n" for word in words) + preempt
