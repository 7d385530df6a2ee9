"""Statements without what cannot be had in a lab, before anybody asks what they mean. Pure.

Keys, passwords and certificates lie in other files, which need not be here. Virtual MAC addresses would be the same on
every node, and the judge could not tell the nodes apart. Processes are looked for on the whole machine, and a HAProxy of the
user's does not run here: scripts stand for what tracks them, so that a fault can let them fail.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from haagent.config.tree import Statement
from haagent.config.writing import statement, with_block
from haagent.lab.rehearsal.findings import Findings

CREDENTIALS = frozenset({
    "ca", "cert", "key", "username", "password_file", "password_env", "server_name", "tls", "auth", "chroot", "key_file",
})  # fmt: skip
VIRTUAL_MACS = frozenset({"use_vmac", "use_vmac_addr", "vmac_xmit_base", "vmac_addr_suffix", "use_ipvlan"})
WATCHED = {"track_haproxy": "tracked HAProxies", "vrrp_track_process": "tracked processes"}
TRACKED = frozenset({"track_haproxy", "track_process"})
PATIENCE = frozenset({"interval", "timeout", "weight", "rise", "fall"})
_MEMBERS = frozenset({"etcd", "zookeeper", "file", "witness"})


def clean(statements: Iterable[Statement], key: Path, findings: Findings) -> list[Statement]:
    """Return ``statements`` with the lab's ``key`` for the peers, and an arbiter without credentials, no virtual MACs."""
    return [_clean(one, key, findings) for one in statements]


def _clean(one: Statement, key: Path, findings: Findings) -> Statement:
    if one.block is None:
        return one
    if one.keyword == "peers":
        kept = [inner for inner in one.block if inner.keyword != "key_file"]
        return with_block(one, [statement(f'key_file "{key}"'), *kept])
    if one.keyword == "arbiter":
        return with_block(one, _open(one.block, findings))
    if one.keyword in WATCHED and one.values:
        findings.changed(f"{WATCHED[one.keyword]}: scripts stand for them, which a fault can let fail")
        return _as_script(one)
    if one.keyword in ("vrrp_instance", "vrrp_sync_group"):
        return with_block(one, _subject(one.block, findings))
    return one


def _as_script(one: Statement) -> Statement:
    """Return a vrrp_script of the same name, with the same weight and patience."""
    kept = [inner for inner in one.block or () if inner.keyword in PATIENCE]
    words = {inner.keyword for inner in kept}
    if one.keyword == "track_haproxy":
        kept += [statement(f"{word} 2") for word in ("rise", "fall") if word not in words]
    return statement(f'vrrp_script "{one.values[0].text}"', statement('script "/bin/true"'), *kept)


def _subject(block: Iterable[Statement], findings: Findings) -> list[Statement]:
    """Return the lines of an instance or a group."""
    kept = []
    for one in block:
        if one.keyword in VIRTUAL_MACS:
            findings.left_out(
                "use_vmac: a virtual MAC is the same on every node, and the judge tells nodes by their MACs"
            )
        elif one.keyword in TRACKED:
            kept.append(statement("track_script", *(one.block or ()), block=True))
        else:
            kept.append(one)
    return kept


def _open(block: Iterable[Statement], findings: Findings) -> list[Statement]:
    kept = []
    for one in block:
        if one.keyword in CREDENTIALS and one.block is None:
            findings.changed("the lab's arbiter asks for no certificate, user or password")
        elif one.keyword in _MEMBERS and one.block is not None:
            kept.append(with_block(one, _open(one.block, findings)))
        else:
            kept.append(one)
    return kept
