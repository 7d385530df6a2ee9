"""Whose configuration is rehearsed: the user's files, one ``NodeSource`` per node.

Three ways to name the nodes: one file each; one file with ``@host`` lines for all; one file of one node, and then the
other nodes are made from it (``mirror``). A file without a vrrp_instance (an arbiter, peers) belongs to every node.
Promise: what cannot be used is a ConfigError with the place in the user's own file. Changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from haagent.config.load import read_statements, understand
from haagent.config.messages import Messages
from haagent.config.model import Configuration
from haagent.config.tree import Statement
from haagent.lab.namespaces import LabError
from haagent.lab.rehearsal.cleaning import clean
from haagent.lab.rehearsal.findings import Findings
from haagent.lab.rehearsal.mirror import mirrored, partners, peer_names

MOST_NODES = 5
_CONDITION = re.compile(r"^\s*@([A-Za-z0-9][A-Za-z0-9._-]*)\s", re.MULTILINE)
_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class NodeSource:
    """One node: its statements, what they mean, and where they come from, in words."""

    name: str
    statements: tuple[Statement, ...]
    configuration: Configuration
    origin: str


@dataclass(frozen=True, slots=True)
class _Draft:
    """A node whose statements are not understood yet."""

    name: str
    statements: list[Statement]
    messages: Messages
    origin: str


def read_sources(
    files: Sequence[Path], named: Mapping[str, Sequence[Path]], key: Path, findings: Findings
) -> tuple[NodeSource, ...]:
    """Return the nodes. ``named`` are files by node; ``key`` is the lab's own peers' key.

    Raises ConfigErrors for what cannot be used, LabError when there are no nodes or too many.
    """
    drafts = _drafts(files, named)
    if not drafts:
        raise LabError(
            f"no vrrp_instance in {', '.join(map(str, files)) or 'no file'}: -f FILE, or --node NAME=FILE"
        )
    if len(drafts) == 1:
        drafts += _made(drafts[0], findings)
    sources = tuple(_understand(draft, key, findings) for draft in drafts)
    sources = _named_as_peers(sources)
    _check(sources)
    return sources


def _drafts(files: Sequence[Path], named: Mapping[str, Sequence[Path]]) -> list[_Draft]:
    common, own = _split(files)
    if named:
        return [
            _read(name, [*paths, *common, *own], name, f"{', '.join(map(str, paths))}")
            for name, paths in named.items()
        ]
    if len(own) == 1:
        names = conditions(own[0])
        if len(names) > 1:
            return [_read(name, [*own, *common], name, f"the @{name} lines of {own[0]}") for name in names]
    return [
        _read(f"node{number}", [path, *common], _stem(path), str(path)) for number, path in enumerate(own, 1)
    ]


def _split(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the files that belong to every node, and those that are a node's own."""
    common: list[Path] = []
    own: list[Path] = []
    for path in files:
        statements = read_statements([path], _stem(path), Messages())
        (own if any(one.keyword == "vrrp_instance" for one in statements) else common).append(path)
    return common, own


def conditions(path: Path) -> list[str]:
    """Return the configuration ids that ``@ID`` lines of a file name, in their order. Raises LabError."""
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise LabError(f"cannot read {path}: {error.strerror}") from error
    return list(dict.fromkeys(_CONDITION.findall(text)))


def _read(name: str, paths: Sequence[Path], config_id: str, origin: str) -> _Draft:
    messages = Messages()
    return _Draft(name, read_statements(paths, config_id, messages), messages, origin)


def _made(only: _Draft, findings: Findings) -> list[_Draft]:
    """Return the nodes that one node's file implies: its unicast peers, or one more."""
    made = [
        _Draft(f"node{number}", statements, Messages(), f"made from {only.origin}")
        for number, statements in enumerate(mirrored(only.statements, partners(only.statements)), 2)
    ]
    findings.added(
        f"{len(made)} more node{'s' if len(made) > 1 else ''} made from {only.origin}: priority 10 lower "
        "each, unicast addresses exchanged; give one -f per node to rehearse the real files"
    )
    return made


def _understand(draft: _Draft, key: Path, findings: Findings) -> NodeSource:
    statements = clean(draft.statements, key, findings)
    configuration = understand(statements, draft.messages)
    for warning in configuration.warnings:
        findings.note(warning)
    return NodeSource(draft.name, tuple(statements), configuration, draft.origin)


def _named_as_peers(sources: Sequence[NodeSource]) -> tuple[NodeSource, ...]:
    """Call the nodes as their haagent and peers blocks do, as far as these say it."""
    names = [_own_name(one) for one in sources]
    listed = peer_names(sources[0].statements)
    if listed and not set(names) & set(listed):
        names = [*listed, *names[len(listed) :]][: len(names)]
    return tuple(replace(one, name=name) for one, name in zip(sources, names, strict=True))


def _own_name(source: NodeSource) -> str:
    block = next((one for one in source.statements if one.keyword == "haagent"), None)
    inner = [] if block is None else block.block or []
    return next((one.values[0].text for one in inner if one.keyword == "node" and one.values), source.name)


def _stem(path: Path) -> str:
    return _NAME.sub("-", path.stem)


def _check(sources: Iterable[NodeSource]) -> None:
    names = [source.name for source in sources]
    if not 2 <= len(names) <= MOST_NODES:
        raise LabError(
            f"{len(names)} nodes to rehearse; 2 to {MOST_NODES} accepted: -f FILE for each, or --node NAME=FILE"
        )
    if len(set(names)) != len(names):
        raise LabError(f"two nodes are called the same: {', '.join(names)}; use --node NAME=FILE")
