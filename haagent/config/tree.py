"""Statements and blocks: tokens in, a tree out.

A statement is the words of one line; a block is the statements between its braces. ``{`` may stand on the next
line, several braces on one line. Unlike keepalived, a ``}`` always closes the block that was opened last, also when
that block's keyword is unknown.

May not know keywords. Errors of structure are collected; what can be read is returned all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from haagent.config.lexer import Line, Token, tokenize
from haagent.config.messages import Messages
from haagent.errors import ConfigError, Place


@dataclass(slots=True)
class Statement:
    """``words`` has at least one token, the keyword; ``block`` is None where no braces followed.

    ``broken`` statements have had their error already: nobody reads their values.
    """

    words: list[Token]
    block: list[Statement] | None = None
    broken: bool = False

    @property
    def keyword(self) -> str:
        """The first word."""
        return self.words[0].text

    @property
    def values(self) -> list[Token]:
        """The words after the keyword."""
        return self.words[1:]

    @property
    def place(self) -> Place:
        """Where the keyword stands."""
        return self.words[0].place

    @property
    def raw(self) -> str:
        """The text after the keyword, quotes included, as commands need it."""
        return self.words[0].line.text[self.words[0].end : self.words[-1].end].strip()


def parse(lines: Iterable[Line], messages: Messages) -> list[Statement]:
    """Return the top-level statements of ``lines``."""
    top: list[Statement] = []
    current, parents = top, []
    openers: list[Token] = []
    for token_or_words in _pieces(lines, messages):
        if isinstance(token_or_words, list):
            current.append(Statement(token_or_words))
        elif token_or_words.text == "{":
            if not current or current[-1].block is not None:
                messages.error("a block without a name", token_or_words.place, "write a keyword before {")
                current.append(Statement([token_or_words]))
            current[-1].block = []
            parents.append(current)
            openers.append(token_or_words)
            current = current[-1].block
        elif parents:
            current = parents.pop()
            openers.pop()
        else:
            messages.error("} closes nothing: every block is closed already", token_or_words.place)
    for opener in openers:
        messages.error("this block is never closed", opener.place, "add the missing }")
    return top


def _pieces(lines: Iterable[Line], messages: Messages) -> Iterator[list[Token] | Token]:
    """Yield runs of words as lists, and unquoted braces as single tokens."""
    for line in lines:
        try:
            tokens = tokenize(line)
        except ConfigError as error:
            messages.add(error)
            continue
        if "{" not in line.text and "}" not in line.text:
            if tokens:
                yield tokens
            continue
        words: list[Token] = []
        for token in tokens:
            if token.quoted or token.text not in ("{", "}"):
                words.append(token)
                continue
            if words:
                yield words
                words = []
            yield token
        if words:
            yield words
