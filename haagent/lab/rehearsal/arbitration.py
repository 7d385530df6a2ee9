"""Which arbiter the rehearsal runs: the file's own kind where the lab has it, etcd where it has not or there is none. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from haagent.config.tree import Statement
from haagent.config.writing import statement, with_block, write
from haagent.lab.arbiter import MEMBERS
from haagent.lab.daemons import peers_block
from haagent.lab.namespaces import LabError
from haagent.lab.rehearsal.findings import Findings
from haagent.lab.rehearsal.sources import NodeSource
from haagent.lab.topology import Node

NONE, QUORUM = "none", "quorum"
KINDS = (*MEMBERS, QUORUM, NONE)
_KEPT = ("domain", "lease", "renew", "guard")
_ALIASES = {"shared-file": "file"}
_QUORUM_DEFAULT = ("etcd", "zookeeper", "file")


@dataclass(frozen=True, slots=True)
class Arbitration:
    """``kinds`` of the servers (several: a quorum; none: plain VRRP), the lines kept of the block, the peers block."""

    kinds: tuple[str, ...]
    domain: str
    words: str
    own_peers: Statement | None
    make_peers: bool

    @property
    def name(self) -> str:
        """What the report calls it."""
        return QUORUM if len(self.kinds) > 1 else "".join(self.kinds) or NONE

    def namespaces(self) -> int:
        """Return how many machines its servers take."""
        if len(self.kinds) == 1:
            return MEMBERS[self.kinds[0]]
        return sum(1 for kind in self.kinds if MEMBERS[kind])

    def peers(self, nodes: Sequence[Node], key: Path) -> str:
        """Return the peers block: the file's own with the lab's key, or one over the mgmt network, or none."""
        if self.own_peers is not None:
            kept = [one for one in self.own_peers.block or () if one.keyword != "key_file"]
            return write([with_block(self.own_peers, [statement(f'key_file "{key}"'), *kept])])
        return peers_block(nodes, key) if self.make_peers else ""


def arbitration(
    sources: Sequence[NodeSource], wanted: str | None, findings: Findings, *, strict: bool = False
) -> Arbitration:
    """Return what the files and ``--arbiter`` ask for. Raises LabError for a kind the lab cannot run."""
    block = _block(sources, "arbiter")
    peers = _block(sources, "peers")
    kinds = _kinds(block, wanted, findings)
    if block is None and wanted is None:
        findings.added(
            "the files name no arbiter: three etcd members are added (--arbiter none rehearses plain VRRP)"
        )
    lonely = peers is None and block is None and bool(kinds) and not strict
    if lonely:
        findings.added(
            "a peers block, so that the nodes renew by promises while the arbiter is gone (--strict: none)"
        )
    inner = [] if block is None else [one for one in block.block or () if one.keyword in _KEPT]
    domain = next((one.values[0].text for one in inner if one.keyword == "domain" and one.values), "haagent")
    return Arbitration(
        kinds=kinds,
        domain=domain,
        words=write(inner, 1),
        own_peers=peers if kinds and not strict else None,
        make_peers=lonely,
    )


def _block(sources: Sequence[NodeSource], keyword: str) -> Statement | None:
    found = (one for source in sources for one in source.statements if one.keyword == keyword)
    return next(found, None)


def _kinds(block: Statement | None, wanted: str | None, findings: Findings) -> tuple[str, ...]:
    if wanted is not None:
        if wanted not in KINDS:
            raise LabError(f"--arbiter {wanted}: {', '.join(KINDS)} accepted")
        if block is not None and block.values and block.values[0].text != wanted:
            findings.changed(f"arbiter {wanted} instead of the files' {block.values[0].text}, as asked for")
        return {NONE: (), QUORUM: _QUORUM_DEFAULT}.get(wanted, (wanted,))
    if block is None:
        return ("etcd",)
    written = block.values[0].text if block.values else NONE
    written = _ALIASES.get(written, written)
    if written == NONE:
        return ()
    if written == QUORUM:
        return _members(block, findings)
    if written in MEMBERS:
        findings.changed(f"the arbiter is a local {written} of the lab")
        return (written,)
    findings.changed(f"the lab has no {written}: a local etcd of three members stands for it")
    return ("etcd",)


def _members(block: Statement, findings: Findings) -> tuple[str, ...]:
    inside = [one.keyword for one in block.block or () if one.block is not None]
    kinds: list[str] = []
    for kind in (_ALIASES.get(one, one) for one in inside):
        if kind in MEMBERS and kind not in kinds:
            kinds.append(kind)
            continue
        stand_in = next((one for one in MEMBERS if one not in kinds and one not in inside), None)
        if stand_in is None:
            findings.changed(f"a quorum member ({kind}) is left out: the lab runs one of each kind")
        else:
            findings.changed(f"quorum member {kind}: a local {stand_in} stands for it")
            kinds.append(stand_in)
    findings.changed(f"the quorum's members are local: {', '.join(kinds)}, one server each")
    return tuple(kinds)
