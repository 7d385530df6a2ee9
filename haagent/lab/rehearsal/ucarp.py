"""ucarp on a node of a rehearsal: the nearest thing it can do to the node's own configuration.

It has no sync groups, scripts to track, IPv6 or adverts faster than 1 s, and a protocol of its own. One process per
watched instance; priority becomes its skew, addresses come and go by its two scripts.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

from haagent.config.model import VrrpInstance
from haagent.core.units import SECOND
from haagent.lab.daemons import OnNode
from haagent.lab.namespaces import LabError
from haagent.lab.topology import Node

PASSWORD = "rehearsal"
TOP = """#!/bin/sh
trap 'kill $(jobs -p) 2>/dev/null; wait' TERM
{lines}
wait
"""


class Ucarp(OnNode):
    """All ucarp processes of one node, below one shell that ends them in order."""

    kind = "ucarp"

    def __init__(
        self, node: Node, directory: Path, instances: Sequence[VrrpInstance], source: IPv4Address
    ) -> None:
        if shutil.which("ucarp") is None:
            raise LabError("ucarp is not installed; on Debian: apt install ucarp")
        super().__init__(node, directory)
        self._top = directory / "ucarp.sh"
        lines = (
            self._line(one, source) for one in instances if isinstance(one.addresses[0].address, IPv4Address)
        )
        self._top.write_text(TOP.format(lines="\n".join(lines)))

    def _line(self, one: VrrpInstance, source: IPv4Address) -> str:
        """Return the command of one instance, and write its two scripts."""
        scripts = {word: self.directory / f"{word}-{one.vrid}.sh" for word in ("add", "del")}
        for word, path in scripts.items():
            commands = (f"ip addr {word} {a} dev {a.device}" for a in one.addresses)
            path.write_text(
                "#!/bin/sh\n" + "\n".join(f"{command} 2>/dev/null" for command in commands) + "\nexit 0\n"
            )
            path.chmod(0o755)
        seconds = max(1, round(one.advert_interval / SECOND))
        words = (
            "ucarp", f"-i {one.interface}", f"-s {source}", f"-v {one.vrid}", f"-p {PASSWORD}",
            f"-a {one.addresses[0].address}", f"-u {scripts['add']}", f"-d {scripts['del']}",
            f"-b {seconds}", f"-k {254 - min(one.priority, 254)}", "-P" if one.preempt else "", "-z", "&",
        )  # fmt: skip
        return " ".join(word for word in words if word)

    def argv(self) -> tuple[str, ...]:
        return ("/bin/sh", str(self._top))
