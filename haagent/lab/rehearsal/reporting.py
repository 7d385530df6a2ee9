"""Everything a report says, as data; the page, the table and the JSON are three readers of it."""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core.units import Duration
from haagent.lab.rehearsal.blueprint import Blueprint
from haagent.lab.rehearsal.environment import Environment
from haagent.lab.rehearsal.findings import Finding
from haagent.lab.rehearsal.running import Rehearsal


@dataclass(frozen=True, slots=True)
class PlanLine:
    """One line of `haagent plan`: the longest outage it allows here, and plain VRRP's beside it. None: see ``remark``."""

    what: str
    worst: Duration | None
    keepalived: Duration | None
    remark: str


@dataclass(frozen=True, slots=True)
class Report:
    """One rehearsal, all its stages; the first one is haagent's."""

    played: tuple[Rehearsal, ...]
    plan: tuple[PlanLine, ...]
    findings: tuple[Finding, ...]
    sources: tuple[tuple[str, str], ...]  # node, where its configuration comes from
    blueprint: Blueprint
    arbiter: str
    again: str
    seed: int
    slack: Duration
    began: str
    environment: Environment
