r"""Words of keepalived.conf: one line in, its tokens out, each knowing its file, line and column.

Rules, as keepalived's parser has them: ``#`` and ``!`` start a comment outside double quotes (``\#`` and ``\!``
do not); ``{`` and ``}`` outside double quotes are words of their own; ``"..."`` joins, and its closing quote ends the
word. Single quotes mean something only inside commands, see ``split_command``. One deviation: ``${NAME}`` stays one
word, so that an undefined name is reported as such and does not open a block.

May not know keywords, and touches no files.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from haagent.errors import ConfigError, Place

_COMMENT_OR_QUOTE = re.compile(r'[!#"\\]')
_WORD = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([{}])|((?:\$\{[^{}"]*\}|[^\s"{}])+)|("))')
_COMMAND_SIGN = re.compile(r"[\\'\"]")
_SIMPLE_ESCAPES = {"a": "\a", "b": "\b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_COMMAND_ESCAPE = re.compile(r"x([0-9A-Fa-f]{1,2})|c(.)|([0-7]{1,3})|(.)", re.DOTALL)


class Line(NamedTuple):
    """One logical line. ``exact``: its columns are those of the file (no substitution took place).

    ``cut`` is where a comment began directly behind a word, with no blank between; 0 where none did.
    """

    text: str
    file: str
    number: int
    exact: bool = True
    cut: int = 0

    def place(self, column: int = 0) -> Place:
        """Return the place of the character at ``column`` (from 1)."""
        return Place(self.file, self.number, column if self.exact else 0)


class Token(NamedTuple):
    """One word, without its double quotes; ``start`` and ``end`` are offsets in ``line.text``."""

    text: str
    line: Line
    start: int
    end: int
    quoted: bool

    @property
    def place(self) -> Place:
        """Where the word begins."""
        return self.line.place(self.start + 1)


def strip_comment(text: str) -> str:
    """Return ``text`` without its comment and trailing blanks; escaped comment signs lose their backslash."""
    if not _COMMENT_OR_QUOTE.search(text):
        return text.rstrip()
    kept, quoted, position = [], False, 0
    while position < len(text):
        char = text[position]
        if char == "\\" and position + 1 < len(text):
            following = text[position + 1]
            kept.append(following if not quoted and following in "#!" else char + following)
            position += 2
            continue
        if char == '"':
            quoted = not quoted
        elif char in "#!" and not quoted:
            break
        kept.append(char)
        position += 1
    return "".join(kept).rstrip()


def tokenize(line: Line) -> list[Token]:
    """Return the words of a line that has no comment any more. Raises ConfigError for a quote that never closes."""
    tokens = []
    text, position = line.text, 0
    match = _WORD.match(text, 0)
    while match is not None:
        position = match.end()
        kind = match.lastindex or 0
        start = match.start(kind) - (kind == 1)
        if kind == 4:
            raise ConfigError(
                "a double quote is never closed", line.place(start + 1), 'close it with " on the same line'
            )
        tokens.append(Token(match.group(kind), line, start, position, kind == 1))
        match = _WORD.match(text, position)
    return tokens


def split_command(text: str, place: Place) -> list[str]:
    """Split a command as keepalived does: like a shell's words and quotes, without variables, globs or operators.

    Raises ConfigError for an open quote or a trailing backslash.
    """
    if not _COMMAND_SIGN.search(text):
        return text.split()
    words: list[str] = []
    word: list[str] | None = None
    quote, position = "", 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "\\":
            escaped, position = _escape(text, position, place)
            word = [*(word or []), escaped]
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote, word = char, word or []
        elif not quote and char.isspace():
            if word is not None:
                words.append("".join(word))
            word = None
        else:
            word = word if word is not None else []
            word.append(char)
    if quote:
        raise ConfigError(f"the command's {quote} is never closed: {text.strip()}", place)
    return words if word is None else [*words, "".join(word)]


def _escape(text: str, position: int, place: Place) -> tuple[str, int]:
    """Return the character that the escape at ``position`` (after the backslash) means, and where it ends."""
    match = _COMMAND_ESCAPE.match(text, position)
    if match is None:
        raise ConfigError("the command ends in a backslash", place)
    hexadecimal, control, octal, other = match.groups()
    if hexadecimal:
        return chr(int(hexadecimal, 16)), match.end()
    if control:
        return chr(ord(control) & 0x1F), match.end()
    if octal:
        return chr(int(octal, 8) & 0xFF), match.end()
    return _SIMPLE_ESCAPES.get(other, other), match.end()
