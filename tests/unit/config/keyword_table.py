"""The keyword tables of docs/configuration.md, from the tables the parser works with.

Run it with the file to bring up to date: ``python tests/unit/config/keyword_table.py docs/configuration.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from haagent.config.grammar import TABLES, Keyword, Verdict

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"
BEGIN, END = "<!-- keywords: generated -->\n", "<!-- end of keywords -->\n"
MEANING = {
    Verdict.DO: "yes",
    Verdict.NOTE: "no effect",
    Verdict.WARN: "**warning**",
    Verdict.REFUSE: "**refused**",
    Verdict.LVS: "skipped (LVS)",
}


def tables() -> str:
    """Return one table a block, between the markers."""
    parts = []
    for context, rows in TABLES.items():
        title = "top level" if context == "top" else context
        parts.append(f"\n### {title}\n\n| keyword | implemented | remark |\n|---|---|---|\n")
        parts += [_line(row) for row in rows.values()]
    return BEGIN + "".join(parts) + "\n" + END


def _line(row: Keyword) -> str:
    usage = f"{row.name} {row.usage}".strip().replace("|", "\\|")
    return f"| `{usage}` | {MEANING[row.verdict]} | {row.remark} |\n"


def renewed(document: str) -> str:
    """Return the document with its tables up to date."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + tables() + after


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(renewed(target.read_text()))
