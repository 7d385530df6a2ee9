"""Everything the core is told by the configuration, at the start and on every reload."""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core.group import GroupParameters
from haagent.core.instance import InstanceParameters
from haagent.core.session import SessionParameters
from haagent.core.tracking import TrackerParameters
from haagent.core.units import Duration


@dataclass(frozen=True, slots=True)
class NodeParameters:
    """The parameters of the node and of all it is made of. ``arbitrated`` False is plain VRRP.

    ``tenure`` is how long a holder keeps a claim before it considers a better node's bid; faults do not wait for it.
    ``resume`` maps claims to the epochs for which the local gate was found open and within its deadline when a
    worker is restarted under the incarnation of the one before.
    """

    session: SessionParameters
    instances: tuple[InstanceParameters, ...]
    groups: tuple[GroupParameters, ...]
    trackers: tuple[TrackerParameters, ...] = ()
    arbitrated: bool = True
    startup_delay: Duration = 0
    tenure: Duration = 0
    resume: tuple[tuple[str, int], ...] = ()
