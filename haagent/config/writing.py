"""The way back from statements to a file that keepalived and haagent read the same.

Promise: parsing what ``write`` returned gives the same words and blocks. Comments, includes, conditions and sequences
are gone: they have been followed when the statements were read. May not know keywords.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from haagent.config.lexer import Line, tokenize
from haagent.config.tree import Statement

_QUOTED_OR_SIGN = re.compile(r'"(?:[^"\\]|\\.)*"|[!#]')


def write(statements: Iterable[Statement], depth: int = 0) -> str:
    """Return the text of ``statements``, one a line, blocks indented."""
    return "".join(_write(statement, depth) for statement in statements)


def statement(text: str, *inner: Statement, block: bool = False) -> Statement:
    """Return a statement of its own making from its line; with ``inner`` or ``block``, one with braces."""
    words = tokenize(Line(text, "", 0, exact=False))
    return Statement(words, list(inner) if inner or block else None)


def with_block(one: Statement, block: Iterable[Statement]) -> Statement:
    """Return ``one`` with other statements between its braces."""
    return Statement(one.words, list(block), one.broken)


def _write(one: Statement, depth: int) -> str:
    indent = "    " * depth
    keyword = f'"{one.keyword}"' if one.words[0].quoted else one.keyword
    line = f"{indent}{_guarded(f'{keyword} {one.raw}'.rstrip())}"
    if one.block is None:
        return f"{line}\n"
    return f"{line} {{\n{write(one.block, depth + 1)}{indent}}}\n"


def _guarded(text: str) -> str:
    """Return ``text`` with its comment signs outside quotes escaped again."""
    return _QUOTED_OR_SIGN.sub(lambda match: match[0] if match[0].startswith('"') else f"\\{match[0]}", text)
