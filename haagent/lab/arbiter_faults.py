"""Faults of a lab's etcd that need more than signals: its leader killed again and again, its records deleted.

As all faults: ``inject`` and ``heal``, and healing what was not injected is no error.
"""

from __future__ import annotations

import subprocess
import threading

from haagent.lab.arbiter import EtcdArbiter
from haagent.lab.servers import ServerError

BETWEEN_KILLS = 1.5  # seconds: about an election, so that most kills hit a new leader


class KillLeaders:
    """kill -9 of whoever leads, started again at once, over and over until healed."""

    name = "kill-leader-loop"
    target = "arbiter"
    description = "kill -9 of the arbiter's leader, again and again"

    def __init__(self, arbiter: EtcdArbiter) -> None:
        self._cluster = arbiter.cluster
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
            self._cluster.revive()
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
            leader = self._cluster.leader()
        except (ServerError, subprocess.TimeoutExpired):
            return  # nobody leads just now
        self._cluster.kill(leader)
        self._cluster.revive()


class WipeArbiter:
    """Every record of the arbiter deleted, as after restoring it from nothing; nobody puts them back."""

    name = "wipe-arbiter"
    target = "arbiter"
    description = "all records of the arbiter deleted"

    def __init__(self, arbiter: EtcdArbiter) -> None:
        self._cluster = arbiter.cluster

    def inject(self) -> None:
        self._cluster.etcdctl("del", "", "--prefix")

    def heal(self) -> None:
        """Nothing."""
