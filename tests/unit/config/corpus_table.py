"""The verdict table of docs/corpus.md: 132 real configurations, keepalived's word and ours.

Run it with the file to write: ``python tests/unit/config/corpus_table.py docs/corpus.md``. The table names files and
verdicts only, never their content. Every difference needs a reason from ``REASONS``; ``test_config_corpus`` fails on a
difference that has none, so nothing is rejected by accident.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from haagent.agent.sources import refusals
from haagent.config.load import load
from haagent.config.messages import ConfigErrors

ROOT = Path(__file__).resolve().parents[3]
CORPUS = ROOT.parent / "shared" / "data" / "keepalived-corpus"
CONFIG_ID = "corpus"
RANK = {"accept": 0, "warn": 1, "reject": 2}

# What an error of ours says -> why it is one although keepalived starts. First match counts.
REASONS = (
    (
        r"uses a name that is not defined",
        "a name is used that nothing defines for this configuration id; keepalived reads it literally",
    ),
    (r"unicast_peer is empty", "an empty list of peers would fall back to multicast: two masters"),
    (
        r"^track_bfd is not supported",
        "tracks BFD, not implemented; without it the wrong node could be master",
    ),
    (r"^auth_type AH", "auth_type AH is not implemented; peers would not accept each other"),
    (r"^auth_hmac", "auth_hmac is not implemented; peers would not accept each other"),
    (r"owner_ignore_adverts", "owner_ignore_adverts is not implemented; it decides who is master"),
    (r"^vrf is not supported", "vrf is not implemented; adverts would go elsewhere"),
    (r"^use_ipvlan", "use_ipvlan is not implemented; adverts would come from another address"),
    (r"interface is missing|interface is '|dev is '", "an instance without a usable interface name"),
    (r"virtual_router_id is", "an instance without a usable VRID; keepalived drops the instance"),
    (
        r"^(address|unicast peer|unicast_src_ip|mcast_src_ip) is '",
        "an address that is none (a placeholder); keepalived drops it and goes on",
    ),
    (r"is not IPv[46] like the virtual addresses", "source or peers of another family than the addresses"),
    (
        r"^track_\w+ names .* defines it|has no (script|file|process)",
        "tracks something that is not defined, or is defined without its one necessary line; keepalived goes on without it",
    ),
    (r"defined again", "two blocks of one name; keepalived ignores the second"),
    (r"is used by .* already", "one VRID twice on one interface"),
    (r"both guard", "one address in two instances: two claims, so two nodes could have it"),
    (r"has no members", "a sync group without members"),
    (
        r"^unknown block|closes nothing|never closed|block without a name",
        "a block that is unknown, misplaced or not balanced; keepalived loses its surroundings",
    ),
    (r"is missing its value", "a keyword without its value; keepalived leaves it out"),
    (r"is not read", "several keywords on one line; keepalived loses all but the first"),
)
WARNINGS = (
    (r"is not supported: ", "a feature that is not implemented is named"),
    (r"the line is left out|it has no effect", "a line that cannot be understood is named"),
    (r"has no priority", "a rule without a priority is pointed out"),
    (r"is left out: |has no /LENGTH", "an option of an address that cannot be is named"),
    (r"smtp_alert without", "mail without a recipient is pointed out"),
    (r"characters of a process's name", "a process's name that is too long is pointed out"),
    (r"no file matches|include skips", "an include that matches nothing is named"),
    (r"priority 255", "priority 255 is pointed out"),
    (r"auth_pass has a character outside ASCII", "a password outside ASCII is pointed out"),
    (r"no vrrp_instance", "nothing to keep available"),
    (r"is not shorter than .* s; the others", "a delay that keepalived does not use is pointed out"),
    (r"delays for .* have no effect", "delays for an interface that haagent itself makes are pointed out"),
)
# What keepalived's own message says -> why haagent has nothing to say. First match counts.
SILENCES = (
    (r"promote_secondaries is automatically set for vmacs", "a setting that virtual MACs have anyway"),
    (r"for routes is deprecated", "an old word for routes that works"),
    (r"SECURITY VIOLATION", "script security is always on here"),
    (r"^\(dev-one_hash.conf: ", "an instance whose name has a `#`, which keepalived loses"),
    (
        r"iptables not supported|nftables already specified|Unknown keyword 'vrrp_ipsets'",
        "about which firewall to use, which is not asked here",
    ),
    (
        r"not found/accessible|Unable to set default user|doesn't exist|specified for up/down",
        "about the test host, which a check of the text does not look at",
    ),
    (
        r"[Qq]uorum|[Vv]irtual server|real-time priority|invalid number|outside range|empty notification_email",
        "about load balancing, scheduling or mail",
    ),
    (r"track script .* not found", "the script is defined later in the file, which is allowed here"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One file: exit statuses of ``keepalived -t``, keepalived's verdict (of 2.4.3), ours, and why they differ."""

    file: str
    exits: tuple[str, str]
    keepalived: str
    ours: str
    reasons: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return self.keepalived != self.ours


def rows() -> list[Row]:
    """Return one row a file, in the order of the corpus's index."""
    index = (CORPUS / "INDEX.tsv").read_text().splitlines()[1:]
    return [_row(line.split("\t")) for line in index]


def _row(columns: list[str]) -> Row:
    file, theirs = columns[0], {"accept": "accept", "accept+warn": "warn", "reject": "reject"}[columns[6]]
    ours, messages = verdict(CORPUS / file)
    reasons: list[str] = []
    if RANK[ours] > RANK[theirs]:
        reasons = _reasons(messages, REASONS if ours == "reject" else WARNINGS)
    elif ours != theirs:
        said = (CORPUS / "t-2.4.3" / file).with_suffix(".txt").read_text()
        reasons = _reasons(
            [line for line in said.splitlines() if not line.startswith(("#", "exit="))], SILENCES
        )
    return Row(file, (columns[4], columns[5]), theirs, ours, tuple(dict.fromkeys(reasons)))


def verdict(path: Path) -> tuple[str, list[str]]:
    """Return accept, warn or reject, and the messages that make it so, without places."""
    try:
        configuration = load([path], config_id=CONFIG_ID, environ={})
    except ConfigErrors as errors:
        return "reject", [error.message for error in errors.errors]
    if refused := tuple(refusals(configuration)):
        return "reject", [error.message for error in refused]
    return "warn" if configuration.warnings else "accept", list(configuration.warnings)


def _reasons(messages: list[str], table: tuple[tuple[str, str], ...]) -> list[str]:
    return [
        next((reason for pattern, reason in table if re.search(pattern, one)), "?")
        for one in messages
        if one.strip()
    ]


HEAD = """# Real configurations: keepalived's verdict and ours

Generated by `python tests/unit/config/corpus_table.py docs/corpus.md`; do not edit.

The files are other people's public configurations and are not part of this project. *keepalived* is what
`keepalived -t` of 2.4.3 said on a host that has every interface and script the file names: accept (nothing said),
warn (starts, with messages), reject. The exit statuses are those of 2.2.7 and 2.4.3; -15 is a defect of 2.2.7.
*haagent* is `haagent check` with a configuration id that no file mentions, so `@ID` lines do not count.

A rejected file is one that haagent will not start with: what it would have to ignore decides who may be MASTER or what
a peer accepts. Everything else is accepted with warnings, and with notes that this table does not count.
"""


def table(found: list[Row]) -> str:
    """Return the document."""
    counts = {(theirs, ours): 0 for theirs in RANK for ours in RANK}
    for row in found:
        counts[row.keepalived, row.ours] += 1
    lines = [HEAD, "| keepalived \\ haagent | accept | warn | reject |", "|---|---|---|---|"]
    lines += [
        f"| {theirs} | " + " | ".join(str(counts[theirs, ours]) for ours in RANK) + " |" for theirs in RANK
    ]
    lines += [
        "",
        "| file | exit 2.2.7 | exit 2.4.3 | keepalived | haagent | why they differ |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.file} | {row.exits[0]} | {row.exits[1]} | {row.keepalived} | {row.ours} | {'; '.join(row.reasons)} |"
        for row in found
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(table(rows()))
