"""What each keyword is: where it may stand, what follows it, and what haagent makes of it.

The tables themselves are in ``keywords``; this module gives them types and look-up. May not read values.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from haagent.config import keywords


class Verdict(StrEnum):
    """What haagent makes of a keyword."""

    DO = "do"  # implemented
    NOTE = "note"  # accepted, nothing is lost by its having no effect
    WARN = "warn"  # accepted, but the user loses something
    REFUSE = "refuse"  # ignoring it would change who may be MASTER or what a peer accepts
    LVS = "lvs"  # keepalived's load balancer: skipped, with one message for all


class Body(StrEnum):
    """What may follow a keyword between braces."""

    NONE = "none"
    SECTION = "section"  # keywords of the context named like this keyword
    LINES = "lines"  # one entry a line
    OPTIONAL = "optional"  # a section, or the words on the line


@dataclass(frozen=True, slots=True)
class Keyword:
    """One row of the tables. ``most`` is None where any number of words may follow."""

    name: str
    context: str
    usage: str
    verdict: Verdict
    remark: str
    body: Body
    least: int
    most: int | None

    @property
    def switch(self) -> bool:
        """Whether the keyword is a flag that can be switched off on its own line."""
        return self.usage == "[BOOL]"


def lookup(context: str, name: str) -> Keyword | None:
    """Return the keyword ``name`` of ``context``, old spellings included, or None."""
    table = TABLES[context]
    return table.get(keywords.ALIASES.get(name, name)) or table.get(name)


def suggestion(context: str, name: str) -> str:
    """Return a remedy for an unknown keyword: the nearest spelling here, or where the keyword belongs."""
    wrong = keywords.WRONG_NAMES.get(name)
    if wrong:
        return f"did you mean {wrong}?"
    elsewhere = sorted(other for other, table in TABLES.items() if name in table)
    if elsewhere:
        return f"{name} belongs into {' or '.join('the top level' if one == 'top' else one for one in elsewhere)}"
    near = difflib.get_close_matches(name[:64], TABLES[context], n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else ""


def _row(context: str, line: str) -> Keyword:
    name, usage, verdict, *remark = re.split(r"\s{2,}", line.strip(), maxsplit=3)
    usage = "" if usage == "-" else usage
    words = re.sub(r"\[?\{.*\}\]?", "", usage)
    needed = re.sub(r"\[.*\]", "", words)
    least = len(needed.replace("...", "").split())
    most = None if "..." in words else len(words.split())
    return Keyword(
        name, context, usage, Verdict(verdict), remark[0] if remark else "", _body(usage), least, most
    )


def _body(usage: str) -> Body:
    if usage.endswith("[{}]"):
        return Body.OPTIONAL
    if usage.endswith("{}"):
        return Body.SECTION
    return Body.LINES if usage.endswith("}") else Body.NONE


def _table(context: str, text: str) -> MappingProxyType[str, Keyword]:
    rows = [_row(context, line) for line in text.splitlines() if line.strip()]
    return MappingProxyType({row.name: row for row in rows})


TABLES = MappingProxyType({context: _table(context, text) for context, text in keywords.TABLES.items()})
