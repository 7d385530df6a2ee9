"""A node's own statements, as the lab runs them: the same VRRP, other paths, scripts and servers. Pure.

Promise: what decides about the election stays as it was written: instances, groups, priorities, timers, weights, lists of
peers. What is changed or left out is a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from haagent.config.grammar import TABLES, Verdict
from haagent.config.tree import Statement
from haagent.config.writing import statement, with_block, write
from haagent.lab.rehearsal.findings import Findings

OWN = frozenset({"haagent", "arbiter", "peers", "track_peer"})  # what keepalived has no word for
_BALANCER = frozenset(name for name, row in TABLES["top"].items() if row.verdict is Verdict.LVS)
_TOP_GONE = {
    **dict.fromkeys(_BALANCER, "virtual and real servers (IPVS) and what belongs to them are not rehearsed"),
    "bfd_instance": "BFD is not rehearsed",
    "net_namespace": "net_namespace: the lab has namespaces of its own",
    "namespace_with_ipsets": "net_namespace: the lab has namespaces of its own",
    "instance": "instance: pid files are the lab's own",
    "use_pid_dir": "instance: pid files are the lab's own",
    "linkbeat_interfaces": "link polling is not rehearsed",
}
_GLOBAL_GONE = {
    **dict.fromkeys(
        ("notification_email", "smtp_server", "smtp_alert", "smtp_alert_vrrp", "notification_email_from"),
        "no mail is sent",
    ),
    **dict.fromkeys(("startup_script", "shutdown_script"), "startup and shutdown scripts are not run"),
    **dict.fromkeys(
        ("notify_fifo", "notify_fifo_script", "vrrp_notify_fifo", "vrrp_notify_fifo_script"),
        "notify FIFOs are not made; notify scripts are recorded",
    ),
}
_GLOBAL_QUIET = frozenset({
    "script_user", "enable_script_security", "state_dump_file", "stats_dump_file", "json_dump_file", "vrrp_rt_priority",
    "vrrp_priority", "vrrp_cpu_affinity", "vrrp_no_swap", "process_names", "startup_script_timeout",
    "shutdown_script_timeout", "net_namespace", "instance", "use_pid_dir", "umask", "max_auto_priority",
    "min_auto_priority_delay", "vrrp_rlimit_rttime", "vrrp_process_name",
})  # fmt: skip
_INSTANCE_GONE = {
    "smtp_alert": "no mail is sent",
    "lvs_sync_daemon_interface": "virtual and real servers (IPVS) and what belongs to them are not rehearsed",
    "track_bfd": "BFD is not rehearsed",
}
_UNHEARD = frozenset({"track_peer", "veto_script", "veto_timeout", "veto_pause"})
_OWN_KEPT = frozenset({"gate", "minimum_tenure"})
_SCRIPTED = frozenset({"vrrp_instance", "vrrp_sync_group"})
_NOTIFY = frozenset({
    "notify", "notify_master", "notify_backup", "notify_fault", "notify_stop", "notify_deleted",
    "notify_master_rx_lower_pri",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stubs:
    """Where one node's stand-ins are: see ``stubs``. ``real``: the user's own scripts run instead."""

    directory: Path
    real: bool = False

    def check(self, name: str) -> str:
        """Return the command that stands for the vrrp_script ``name``."""
        return f'"/bin/sh {self.directory}/check {name}"'

    def notify(self, word: str) -> str:
        """Return the command that records what ``word`` was told."""
        return f'"/bin/sh {self.directory}/notify {word}"'

    def file(self, name: str) -> Path:
        """Return the file that stands for the track_file ``name``."""
        return self.directory / f"file-{name}"


def rewrite(statements: Iterable[Statement], stubs: Stubs, findings: Findings) -> list[Statement]:
    """Return the statements of the node's keepalived.conf in the lab; haagent's own blocks are not among them."""
    kept = [one for one in statements if one.keyword not in OWN]
    written = [made for one in kept if (made := _top(one, stubs, findings)) is not None]
    if not stubs.real:
        written.insert(
            0, statement("global_defs", statement("script_user root"), statement("enable_script_security"))
        )
    return written


def own_words(statements: Iterable[Statement]) -> str:
    """Return what of the file's haagent block decides something: the gate, and how long a MASTER stays."""
    blocks = (one.block or () for one in statements if one.keyword == "haagent")
    kept = [line for block in blocks for line in block if line.keyword in _OWN_KEPT]
    return write([statement("haagent", *kept)]) if kept else ""


def _top(one: Statement, stubs: Stubs, findings: Findings) -> Statement | None:
    if one.keyword in _TOP_GONE:
        findings.left_out(_TOP_GONE[one.keyword])
        return None
    block = one.block or []
    if one.keyword == "global_defs":
        return with_block(one, _globals(block, stubs, findings))
    if one.keyword in _SCRIPTED:
        return with_block(one, _instance(one, stubs, findings))
    if one.keyword == "vrrp_script" and not stubs.real:
        findings.changed(
            "vrrp_scripts are stand-ins that succeed until a fault says otherwise (--scripts real runs yours)"
        )
        return with_block(one, _script(one, stubs))
    if one.keyword in ("track_file", "vrrp_track_file"):
        findings.changed("tracked files are the lab's own, with 0 in them")
        return with_block(one, _file(one, stubs))
    return one


def _globals(block: Iterable[Statement], stubs: Stubs, findings: Findings) -> Iterator[Statement]:
    for one in block:
        if one.keyword in _GLOBAL_GONE:
            findings.left_out(_GLOBAL_GONE[one.keyword])
        elif one.keyword not in _GLOBAL_QUIET or (stubs.real and one.keyword == "script_user"):
            yield one


def _instance(one: Statement, stubs: Stubs, findings: Findings) -> Iterator[Statement]:
    """Yield the lines of an instance or a group; its notifications are recorded, asked for or not."""
    for line in one.block or ():
        if line.keyword in _INSTANCE_GONE:
            findings.left_out(_INSTANCE_GONE[line.keyword])
        elif line.keyword in _UNHEARD:
            findings.left_out(f"{line.keyword}: not rehearsed")
        elif line.keyword in _NOTIFY and not stubs.real:
            findings.changed(
                "notify scripts are not run; who would have been told what, and when, is recorded"
            )
        else:
            yield line
    if not stubs.real:
        yield statement(f"notify {stubs.notify('notify')} root")


def _script(one: Statement, stubs: Stubs) -> Iterator[Statement]:
    name = one.values[0].text if one.values else "unnamed"
    for line in one.block or ():
        if line.keyword == "script":
            yield statement(f"script {stubs.check(name)}")
        elif line.keyword != "user":
            yield line


def _file(one: Statement, stubs: Stubs) -> Iterator[Statement]:
    name = one.values[0].text if one.values else "unnamed"
    for line in one.block or ():
        yield statement(f'file "{stubs.file(name)}"') if line.keyword == "file" else line
