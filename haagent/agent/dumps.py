"""keepalived's dumps: data (SIGUSR1), stats (SIGUSR2) and JSON (SIGRTMIN+2), for the tools that read them.

Promises keepalived's own file names and lines, as far as they mean something here, so that exporters which send the
signal and parse the file go on working. A file is complete when it appears: it is written under another name and
renamed over the old one, never through a symbolic link somebody put there. Writing happens in a thread.

Passwords are masked. What haagent has beyond keepalived is in ``haagent status``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from haagent.agent import dump_data
from haagent.agent.dump_sections import quoted
from haagent.config.model import DumpFiles, VrrpInstance
from haagent.config.network_model import VirtualAddress
from haagent.core.instance import Instance
from haagent.core.packet import Discard
from haagent.core.reports import Report, State, StateChanged
from haagent.core.units import SECOND, to_seconds
from haagent.effects.processes import in_thread

if TYPE_CHECKING:
    from haagent.agent.worker import Worker

LOG = logging.getLogger("haagent.dumps")
SIGNALS = {
    "STOP": signal.SIGTERM.value,
    "RELOAD": signal.SIGHUP.value,
    "DATA": signal.SIGUSR1.value,
    "STATS": signal.SIGUSR2.value,
    "STATS_CLEAR": signal.SIGRTMAX - 1,
    "JSON": signal.SIGRTMIN + 2,
}
FORWARDED = tuple(SIGNALS[name] for name in ("DATA", "STATS", "STATS_CLEAR", "JSON"))
NUMBERS = {State.INIT: 0, State.BACKUP: 1, State.MASTER: 2, State.FAULT: 3, State.STOP: 0}

_INVALID_AUTH, _MISMATCH, _FAILURE = "invalid_authtype", "authtype_mismatch", "auth_failure"
_DISCARDS = {
    "packet_len_err": (Discard.LENGTH, Discard.IP_LENGTH, Discard.IP_HEADER),
    "advert_interval_err": (Discard.INTERVAL, Discard.INTERVAL_ZERO),
    "ip_ttl_err": (Discard.TTL,),
    "invalid_type_rcvd": (Discard.TYPE,),
    "addr_list_err": (Discard.ADDRESS_LIST,),
    _INVALID_AUTH: (),
    _MISMATCH: (Discard.AUTH_TYPE,),
    _FAILURE: (Discard.AUTH_FAIL,),
}


@dataclass(slots=True)
class Transitions:
    """How often an instance became MASTER and stopped being it, and when (Unix time) it changed state last."""

    became: int = 0
    released: int = 0
    last: float = 0.0


class Dumps:
    """The dumps of one worker. All methods belong to the event loop's thread."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._transitions: dict[str, Transitions] = {}
        self._cleared: Counter[tuple[str, str]] = Counter()
        self._writing: set[asyncio.Task[None]] = set()

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write a dump whenever its signal arrives."""
        writers: dict[str, Callable[[], None]] = {
            "DATA": lambda: self._write(self._paths().data, dump_data.text(self._worker, self)),
            "STATS": lambda: self._write(self._paths().stats, self.stats_text()),
            "JSON": lambda: self._write(self._paths().json, self.json_text()),
            "STATS_CLEAR": self.clear,
        }
        for name, write in writers.items():
            loop.add_signal_handler(SIGNALS[name], write)

    def _paths(self) -> DumpFiles:
        return self._worker.configuration.globals.dumps

    def read(self, report: Report) -> None:
        """Count changes of state."""
        if not isinstance(report, StateChanged) or report.group:
            return
        counted = self._transitions.setdefault(report.instance, Transitions())
        counted.became += report.new is State.MASTER
        counted.released += report.old is State.MASTER
        counted.last = time.time()

    def clear(self) -> None:
        """Count from 0 again."""
        self._cleared = self._worker.sockets.fates
        for counted in self._transitions.values():
            counted.became = counted.released = 0

    def transitions(self, instance: str) -> Transitions:
        """Return what is known of an instance's changes of state."""
        return self._transitions.get(instance, Transitions())

    def statistics(self, instance: str, fates: Counter[tuple[str, str]]) -> dict[str, int]:
        """Return keepalived's counters of one instance, by its JSON names."""

        def count(*kinds: str) -> int:
            return sum(fates[instance, kind] - self._cleared[instance, kind] for kind in kinds)

        counted = self.transitions(instance)
        return {
            "advert_rcvd": count("accepted"),
            "advert_sent": count("sent"),
            "become_master": counted.became,
            "release_master": counted.released,
            **{name: count(*(reason.value for reason in reasons)) for name, reasons in _DISCARDS.items()},
            "pri_zero_rcvd": count("priority-zero"),
            "pri_zero_sent": count("sent-zero"),
        }

    def json_text(self) -> str:
        """Return version 1 of keepalived's JSON, or version 2 where the configuration asks for it."""
        fates = self._worker.sockets.fates
        vrrp = [
            {"data": self._data(member, configured), "stats": self.statistics(member.name, fates)}
            for member, configured in self.members()
        ]
        if self._worker.configuration.globals.dumps.json_version == 1:
            return json.dumps(vrrp) + "\n"
        return json.dumps({"vrrp": vrrp, "track_process": self._track_processes()}) + "\n"

    def stats_text(self) -> str:
        """Return keepalived.stats."""
        fates = self._worker.sockets.fates
        return "".join(
            _stats(member.name, self.statistics(member.name, fates)) for member, _ in self.members()
        )

    def members(self) -> list[tuple[Instance, VrrpInstance]]:
        """Return the instances and their configurations."""
        found = [member for group in self._worker.node.groups.values() for member in group.members]
        pairs = [(member, self._worker.configured(member.name)) for member in found]
        return [(member, configured) for member, configured in pairs if configured is not None]

    def _track_processes(self) -> list[dict[str, Any]]:
        trackers = self._worker.node.trackers
        return [
            {
                "name": one.name,
                "process": one.argv[0],
                "quorum": one.quorum,
                "up": bool(tracker and tracker.up),
            }
            for one in self._worker.configuration.processes
            for tracker in (trackers.get(f"process {one.name}"),)
        ]

    def _data(self, member: Instance, configured: VrrpInstance) -> dict[str, Any]:
        raised = member.state is State.MASTER
        scripts = {script.name: script for script in self._worker.configuration.scripts}
        data: dict[str, Any] = {
            "iname": member.name,
            "dont_track_primary": int(not configured.track_primary),
            "skip_check_adv_addr": int(configured.skip_check_adv_addr),
            "strict_mode": int(configured.strict),
            "vmac_ifname": configured.vmac.name if configured.vmac else "",
            "ifp_ifname": configured.vmac.name if configured.vmac else configured.interface,
            "master_priority": member.master[1] if member.master and not raised else 0,
            "last_transition": round(self.transitions(member.name).last, 6),
            "garp_delay": configured.garp.delay // SECOND,
            "garp_refresh": configured.garp.refresh // SECOND,
            "garp_rep": configured.garp.repeat,
            "garp_refresh_rep": configured.garp.refresh_repeat,
            "garp_lower_prio_delay": configured.garp.lower_priority_delay // SECOND,
            "garp_lower_prio_rep": configured.garp.lower_priority_repeat,
            "lower_prio_no_advert": int(configured.lower_prio_no_advert),
            "higher_prio_send_advert": int(configured.higher_prio_send_advert),
            "vrid": configured.vrid,
            "base_priority": configured.priority,
            "effective_priority": member.router.priority,
            "vipset": raised,
            "promote_secondaries": configured.promote_secondaries,
            "adver_int": _number(configured.advert_interval),
            "master_adver_int": _number(configured.advert_interval),
            "accept": int(configured.accept),
            "nopreempt": not configured.preempt,
            "preempt_delay": _number(configured.preempt_delay),
            "state": NUMBERS[member.state],
            "wantstate": NUMBERS[member.state],
            "version": configured.version,
            "smtp_alert": configured.smtp_alert,
            "notify_deleted": configured.notify.deleted is not None,
            **_scripts(configured),
            "vips": _address_lines(configured, configured.addresses, installed=raised),
            "evips": _address_lines(configured, configured.excluded, installed=raised),
            "vroutes": [route.text for route in configured.routes],
            "vrules": [rule.text for rule in configured.rules],
            "auth_type": int(configured.auth_pass is not None),
            "track_ifp": [track.name for track in configured.track_interfaces],
            "track_script": [quoted(scripts[track.name].command) for track in configured.track_scripts],
        }
        if configured.auth_pass is not None:
            data["auth_data"] = "********"
        return {key: value for key, value in data.items() if value != []}

    def _write(self, path: str, text: str) -> None:
        task = asyncio.get_running_loop().create_task(self._write_in_thread(path, text), name=f"dump {path}")
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write_in_thread(self, path: str, text: str) -> None:
        try:
            await in_thread(functools.partial(_replace, path, text))
        except OSError as error:
            LOG.error("cannot write %s: %s", path, error)  # noqa: TRY400 - written for the operator


def _number(duration: int) -> float | int:
    seconds = to_seconds(duration)
    return int(seconds) if seconds == int(seconds) else seconds


def _address_lines(
    configured: VrrpInstance, addresses: tuple[VirtualAddress, ...], *, installed: bool
) -> list[str]:
    return [
        dump_data.address_line(one, configured.carrier(one.device), installed=installed) for one in addresses
    ]


def _scripts(configured: VrrpInstance) -> dict[str, str]:
    notify = configured.notify
    commands = {
        "script_backup": notify.backup,
        "script_master": notify.master,
        "script_fault": notify.fault,
        "script_stop": notify.stop,
        "script_deleted": notify.deleted,
        "script": notify.generic,
        "script_master_rx_lower_pri": notify.master_rx_lower_pri,
    }
    return {name: quoted(command) for name, command in commands.items() if command is not None}


def _stats(name: str, counted: dict[str, int]) -> str:
    return (
        f"VRRP Instance: {name}\n"
        f"  Advertisements:\n    Received: {counted['advert_rcvd']}\n    Sent: {counted['advert_sent']}\n"
        f"  Became master: {counted['become_master']}\n  Released master: {counted['release_master']}\n"
        f"  Packet Errors:\n    Length: {counted['packet_len_err']}\n    TTL: {counted['ip_ttl_err']}\n"
        f"    Invalid Type: {counted['invalid_type_rcvd']}\n"
        f"    Advertisement Interval: {counted['advert_interval_err']}\n"
        f"    Address List: {counted['addr_list_err']}\n"
        f"  Authentication Errors:\n    Invalid Type: {counted[_INVALID_AUTH]}\n"
        f"    Type Mismatch: {counted[_MISMATCH]}\n    Failure: {counted[_FAILURE]}\n"
        f"  Priority Zero:\n    Received: {counted['pri_zero_rcvd']}\n    Sent: {counted['pri_zero_sent']}\n"
    )


def _replace(path: str, text: str) -> None:
    """Write a file of our own (mode 0600) and put it in the place of ``path``. Raises OSError."""
    directory = os.path.dirname(path) or "."
    descriptor, name = tempfile.mkstemp(prefix=".haagent-", dir=directory)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
