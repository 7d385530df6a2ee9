"""The arbiter of a lab: an etcd member in each arbiter namespace, seen as faults and clusters need it."""

from __future__ import annotations

from haagent.lab.servers import EtcdCluster, Site
from haagent.lab.topology import Topology


class EtcdArbiter:
    """An etcd cluster on the lab's mgmt network; returns from the constructor when it answers."""

    def __init__(self, topology: Topology) -> None:
        sites = [Site(str(arbiter.mgmt), arbiter.namespace) for arbiter in topology.arbiters]
        self.cluster = EtcdCluster(topology.workdir / "etcd", sites)
        try:
            self.cluster.start()
        except BaseException:
            self.cluster.close()
            raise

    @property
    def endpoints(self) -> tuple[str, ...]:
        """host:port of every member."""
        return self.cluster.endpoints

    @property
    def size(self) -> int:
        """How many members there are."""
        return len(self.cluster.members)

    def freeze(self, members: int) -> None:
        """SIGSTOP the first ``members``."""
        for member in self.cluster.members[:members]:
            self.cluster.freeze(member)

    def thaw(self) -> None:
        """SIGCONT all."""
        for member in self.cluster.members:
            self.cluster.thaw(member)

    def kill(self, members: int) -> None:
        """SIGKILL the first ``members``."""
        for member in self.cluster.members[:members]:
            self.cluster.kill(member)

    def restart(self) -> None:
        """Start what ``kill`` ended, on its old data."""
        self.cluster.revive()

    def stop(self) -> None:
        """End all members and remove their data."""
        self.cluster.close()
