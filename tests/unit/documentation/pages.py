"""The pages of the documentation, and what stands in them as code. Reads text, decides nothing."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "compose" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_INLINE = re.compile(r"`([^`]+)`")


def name(page: Path) -> str:
    """Return how a page is called in messages."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[str]:
    """Yield the blocks of code: lines indented by four blanks, after an empty line, with the empty lines between them."""
    found: list[str] = []
    before = ""
    for line in (*page.read_text().split("\n"), "end"):
        if line.startswith("    ") and (found or not before.strip()):
            found.append(line)
        elif found and not line.strip():
            found.append("")
        elif found:
            yield textwrap.dedent("\n".join(found)).strip("\n")
            found = []
        before = line


def spans(page: Path) -> Iterator[str]:
    """Yield what stands between backticks, outside of blocks; a span may go on in the next line."""
    for paragraph in re.split(r"\n(?=\n)|\n(?=\|)", page.read_text()):
        if not paragraph.lstrip("\n").startswith("    "):
            yield from (" ".join(found.split()) for found in _INLINE.findall(paragraph))


def pieces(page: Path) -> Iterator[str]:
    """Yield every line of code of a page, in blocks and between backticks."""
    for block in blocks(page):
        yield from block.replace("\\\n", " ").split("\n")
    yield from spans(page)
