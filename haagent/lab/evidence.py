"""What a campaign leaves of failures and of outages over budget: the judged piece, everybody's files, the wire.

The piece is kept drawn and raw; a node's files are its logs, configuration and flight recordings. Promises bounded disk
use however long a campaign is: a few shots of each kind, and a capture that is a ring of a few files.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from haagent.lab.cluster import Cluster
from haagent.lab.daemons import OnNode
from haagent.lab.drawing import draw
from haagent.lab.faults import ArbiterServers
from haagent.lab.observations import Record
from haagent.lab.processes import NodeProcess
from haagent.lab.shots import Shot
from haagent.lab.verdict import Verdict

Kind = Literal["failure", "over-budget"]
MOST = 3  # of each kind
MOST_LOG = 1 << 20  # bytes of what each member of the arbiter wrote
RING_FILES, RING_MEGABYTES = 4, 16
CAPTURED = "arp or icmp6 or ip proto 112 or ip6 proto 112"


class Evidence:
    """Keeps what is needed to understand a failure below ``directory``."""

    def __init__(self, directory: Path, again: str) -> None:
        self._directory, self._again = directory, again
        self._kept: Counter[Kind] = Counter()
        self._daemons: tuple[OnNode, ...] = ()
        self._arbiter: ArbiterServers | None = None
        self._capture: NodeProcess | None = None
        self._ring: Path | None = None

    def begin(self, cluster: Cluster) -> None:
        """Remember where the nodes' files are; capture what the client hears on the lan, if tcpdump is installed."""
        self._daemons = tuple(cluster.daemons.values())
        self._arbiter = cluster.servers
        if shutil.which("tcpdump") is None:
            return
        self._ring = cluster.topology.workdir / "capture"
        self._ring.mkdir()
        argv = (
            "tcpdump",
            "-i",
            "lan",
            "-n",
            "-s",
            "160",
            "-U",
            "-Z",
            "root",
            "-w",
            str(self._ring / "lan.pcap"),
        )
        ring = ("-C", str(RING_MEGABYTES), "-W", str(RING_FILES), CAPTURED)
        self._capture = NodeProcess(
            cluster.topology.client.namespace, (*argv, *ring), self._ring / "tcpdump.log"
        )

    def end(self) -> None:
        """Stop capturing."""
        if self._capture is not None:
            self._capture.stop()

    def keep(self, kind: Kind, shot: Shot, what: str, piece: Record, verdict: Verdict) -> None:
        """Write everything about one shot; only the first few of a kind are kept."""
        self._kept[kind] += 1
        if self._kept[kind] > MOST:
            return
        place = self._directory / f"{kind}-{shot.number}"
        place.mkdir(parents=True, exist_ok=True)
        title = f"shot {shot.number}: {shot.label}: {what}"
        (place / "README").write_text(f"{title}\nagain: {self._again}\n")
        (place / "observed.json").write_text(json.dumps(asdict(piece)))
        (place / "observed.svg").write_text(draw(verdict, title))
        for daemon in self._daemons:
            copy_files(daemon.directory, place / daemon.name)
        for name, log in self._arbiter.logs.items() if self._arbiter is not None else ():
            (place / f"{name}.log").write_bytes(log.read_bytes()[-MOST_LOG:] if log.exists() else b"")
        if self._ring is not None:
            copy_files(self._ring, place / "capture")


def copy_files(source: Path, target: Path) -> None:
    """Copy a node's files: no sockets, no keys."""
    shutil.copytree(source, target, ignore=_no_evidence, dirs_exist_ok=True)


def _no_evidence(directory: str, names: list[str]) -> set[str]:
    """Return what is left out: sockets cannot be copied, and keys are nobody's business."""
    places = {name: Path(directory, name) for name in names}
    return {name for name, at in places.items() if at.suffix == ".key" or not (at.is_file() or at.is_dir())}
