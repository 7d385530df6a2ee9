"""What ``haagent arbiter fsck`` says: the state of every voting file, in plain words. Reads only.

Promises to name each file that would not count, why, and what to do; and to say whether a majority is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from arbiters.shared_file.ballot import Accepted, View, counted
from arbiters.shared_file.block import BLOCK, Damaged
from arbiters.shared_file.block_io import DIRECT
from arbiters.shared_file.layout import (
    SLOTS,
    Header,
    NotAVotingFile,
    check_original,
    read_header,
    read_presence,
)
from arbiters.shared_file.making import opened, registers_of

_REPLACE = "haagent arbiter replace makes it anew from the others"


@dataclass(slots=True)
class FileState:
    """One file. ``fault`` is empty if it counts; ``notes`` are worth knowing but not fatal."""

    path: str
    header: Header | None = None
    fault: str = ""
    notes: list[str] = field(default_factory=list)
    views: dict[int, View] = field(default_factory=dict)


@dataclass(slots=True)
class Findings:
    """All files together; ``healthy`` of them count."""

    files: list[FileState]
    registers: dict[int, Accepted]

    @property
    def healthy(self) -> int:
        return sum(not state.fault for state in self.files)

    @property
    def majority(self) -> int:
        return len(self.files) // 2 + 1

    @property
    def exit_code(self) -> int:
        """Return 0: all is well; 1: a majority is; 2: no majority is, so no node can swap."""
        if self.healthy < self.majority:
            return 2
        return 0 if all(not state.fault and not state.notes for state in self.files) else 1


def check(paths: Sequence[str]) -> Findings:
    """Read every file and compare them."""
    states = [_state(path) for path in paths]
    headers = [state.header for state in states if state.header is not None]
    if headers:
        uuids = [header.uuid for header in headers]
        uuid = max(uuids, key=uuids.count)
        newest = max((one for one in headers if one.uuid == uuid), key=lambda header: header.members_seq)
        for state in states:
            _compare(state, newest, len(paths))
    return Findings(states, _newest_values(states))


def lines(findings: Findings) -> list[str]:
    """Return the report."""
    report = []
    for state in findings.files:
        report.append(f"{state.path}: {_verdict(state)}")
        report += [f"    {note}" for note in state.notes]
    names = ", ".join(sorted(accepted.name for accepted in findings.registers.values()))
    report.append(f"registers: {len(findings.registers)} in use" + (f" ({names})" if names else ""))
    count, majority = len(findings.files), findings.majority
    if findings.healthy >= majority:
        report.append(f"{findings.healthy} of {count} files count; {majority} are needed: the arbiter works")
    else:
        report.append(
            f"only {findings.healthy} of {count} files count; {majority} are needed: NO NODE CAN CLAIM ANYTHING"
        )
    return report


def _verdict(state: FileState) -> str:
    header = state.header
    which = (
        f"file {header.index + 1} of {len(header.members)} of domain {header.domain}"
        if header
        else "not usable"
    )
    if state.fault:
        return f"{which}: DOES NOT COUNT: {state.fault}"
    return f"{which}: well" + (", with reservations" if state.notes else "")


def _state(path: str) -> FileState:
    state = FileState(path)
    try:
        with opened(path) as file:
            state.header, _ = read_header(file.exchange(0, b"", [(0, SLOTS * BLOCK)]))
            check_original(state.header, file.inode)
            if not file.flags & DIRECT:
                state.notes.append("its file system has no O_DIRECT: reads may come from this host's cache")
            file.exchange(0, b"", [(state.header.size - BLOCK, BLOCK)])
            front = file.exchange(0, b"", [(0, state.header.front)])
        _note_nodes(state, state.header, front)
        _note_registers(state)
    except NotAVotingFile as error:
        state.fault = str(error)
    except OSError as error:
        state.fault = f"{error.strerror or error}; {_REPLACE}"
    if soft := soft_mount(path):
        state.notes.append(
            f"it is on a soft NFS mount ({soft}): an error then does not mean 'not written'; mount it hard"
        )
    return state


def _note_nodes(state: FileState, header: Header, front: bytes) -> None:
    for slot, node in enumerate(header.nodes):
        try:
            read_presence(front, header, slot)
        except Damaged as damaged:
            state.notes.append(
                f"the mark of node {node} is damaged ({damaged}); that node will write it again"
            )


def _note_registers(state: FileState) -> None:
    for register, view in registers_of(state.path):
        if isinstance(view, View):
            state.views[register] = view
        else:
            state.notes.append(
                f"register {register} does not count here: {view}; its node will mend it, or: {_REPLACE}"
            )


def _compare(state: FileState, newest: Header, files: int) -> None:
    """Add what only shows beside the other files."""
    header = state.header
    if header is None or state.fault:
        return
    if header.uuid != newest.uuid:
        state.fault = f"it comes from another 'arbiter init' than the majority; {_REPLACE}"
    elif header.file_id != newest.members[header.index]:
        state.fault = "it was replaced: this is the predecessor, and must not come back"
    elif len(header.members) != files:
        state.fault = f"it is one of {len(header.members)} files, {files} were named"
    elif header.members_seq != newest.members_seq:
        state.notes.append(
            "it missed the news that another file was replaced; harmless, and mended by the next replacement"
        )


def _newest_values(states: Sequence[FileState]) -> dict[int, Accepted]:
    """Return by register the newest value written, decided or not."""
    found: dict[int, Accepted] = {}
    for register in sorted({number for state in states for number in state.views}):
        views = {
            index: state.views[register] for index, state in enumerate(states) if register in state.views
        }
        block = max((one for view in counted(views).values() for one in view.blocks), key=lambda one: one.bal)
        if block.accepted is not None:
            found[register] = block.accepted
    return found


def soft_mount(path: str) -> str:
    """Return where a soft NFS mount holds ``path``, or nothing."""
    best, soft = "", False
    with suppress(OSError):
        real = str(Path(path).resolve())
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _, after = line.partition(" - ")
            point = fields.split()[4].replace("\\040", " ")
            kind, _source, options = (*after.split(" ", 2), "")[:3]
            if len(point) >= len(best) and (real + "/").startswith(point.rstrip("/") + "/"):
                best, soft = point, kind.startswith("nfs") and "soft" in options.split(",")
    return best if soft else ""
