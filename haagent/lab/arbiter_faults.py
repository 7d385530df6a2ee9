"""Faults of a lab's arbiter that need more than signals: its leader killed again and again, its records deleted.

As all faults: ``inject`` and ``heal``, and healing what was not injected is no error.
"""

from __future__ import annotations

import subprocess
import threading

from haagent.lab.arbiter import ServerArbiter
from haagent.lab.faults import PacketFault, PortRule
from haagent.lab.members import ServerError
from haagent.lab.namespaces import LabError, run
from haagent.lab.topology import Node, Topology

BETWEEN_KILLS = 1.5  # seconds: about an election, so that most kills hit a new leader


class KillLeaders:
    """kill -9 of whoever leads, started again at once, over and over until healed."""

    name = "kill-leader-loop"
    target = "arbiter"
    description = "kill -9 of the arbiter's leader, again and again"

    def __init__(self, arbiter: ServerArbiter) -> None:
        self._arbiter = arbiter
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def inject(self) -> None:
        self._thread = threading.Thread(target=self._run, name="kill-leaders", daemon=True)
        self._thread.start()

    def heal(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join(timeout=60)
            self._thread = None
            self._arbiter.restart()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._kill_one()
                self._stop.wait(BETWEEN_KILLS)
        except BaseException as error:
            self._error = error

    def _kill_one(self) -> None:
        try:
            self._arbiter.kill_leader()
        except (ServerError, subprocess.TimeoutExpired):
            return  # nobody leads just now
        self._arbiter.restart()


class WipeArbiter:
    """Every record of the arbiter deleted, as after restoring it from nothing; nobody puts them back."""

    name = "wipe-arbiter"
    target = "arbiter"
    description = "all records of the arbiter deleted"

    def __init__(self, arbiter: ServerArbiter) -> None:
        self._arbiter = arbiter

    def inject(self) -> None:
        self._arbiter.wipe()

    def heal(self) -> None:
        """Nothing."""


def swallow_connections(topology: Topology, node: Node) -> PacketFault:
    """Lose the packets of the connections ``node`` has to the arbiter now, without a reset; new ones work.

    As a firewall that forgot its states. Raises LabError where there is no connection.
    """
    rules = []
    for arbiter in topology.arbiters:
        # local and remote address:port are the columns after the two queues
        shown = run(
            "ip",
            "netns",
            "exec",
            node.namespace,
            "ss",
            "-Htn",
            "state",
            "established",
            "dst",
            str(arbiter.mgmt),
        )
        ports = sorted({line.split()[2].rsplit(":", 1)[1] for line in shown.splitlines()})
        if ports:
            chosen = f"{{ {', '.join(ports)} }} drop"
            rules.append(PortRule(node.mgmt_port, "from", f"ip daddr {arbiter.mgmt} tcp sport {chosen}"))
            rules.append(PortRule(node.mgmt_port, "to", f"ip saddr {arbiter.mgmt} tcp dport {chosen}"))
    if not rules:
        raise LabError(f"{node.name} has no connection to the arbiter")
    how = "packets of its connections to the arbiter lost"
    return PacketFault("swallow-connections", node.name, topology.switch, rules, how)
