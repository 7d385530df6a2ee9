"""Blocks against the keyword tables: which statements a block has, and what is said about the others.

Promise: every statement of a known block is either handed on or answered with a message; none is dropped in
silence. An unknown keyword is a warning (keepalived itself says "Unknown keyword" and goes on), an unknown block is
an error: nobody can know what it would have changed.

May not interpret values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from haagent.config.grammar import Body, Keyword, Verdict, lookup, suggestion
from haagent.config.lexer import Token
from haagent.config.messages import Messages
from haagent.config.tree import Statement
from haagent.config.values import OFF, boolean, seconds
from haagent.core.units import Duration
from haagent.errors import ConfigError

T = TypeVar("T")

# keepalived takes the first of these when they are repeated, and the last of everything else.
_FIRST_WINS = frozenset(
    {"weight", "version", "process", "net_namespace", "instance", "vmac_prefix", "vmac_addr_prefix"}
    | {"startup_script", "shutdown_script"}
)
# By what may follow a keyword: the words that say not to do it.
_SWITCHED_OFF = {"[BOOL]": OFF, "[never]": frozenset({"never"})}


class Section:
    """The statements of one block (or of several of one name), by keyword; values are read through it."""

    def __init__(self, context: str, statements: Iterable[Statement], messages: Messages) -> None:
        self.context, self.messages = context, messages
        self._found: dict[str, list[Statement]] = {}
        self._last: dict[str, int] = {}
        for number, statement in enumerate(statements):
            row = _admit(context, statement, messages)
            if row is not None:
                self._found.setdefault(row.name, []).append(statement)
                self._last[row.name] = number

    def __contains__(self, keyword: str) -> bool:
        return keyword in self._found

    def all(self, keyword: str) -> list[Statement]:
        """Return every statement of ``keyword``."""
        return self._found.get(keyword, [])

    def latest(self, *keywords: str) -> str:
        """Return which of ``keywords``, which contradict each other, is given last; "" for none."""
        given = [keyword for keyword in keywords if keyword in self._last]
        return max(given, key=self._last.__getitem__, default="")

    def one(self, keyword: str) -> Statement | None:
        """Return the statement of ``keyword`` that counts; say so if there are several."""
        found = self._found.get(keyword)
        if not found:
            return None
        first_wins = keyword in _FIRST_WINS or keyword.startswith("notify")
        if len(found) > 1:
            which, other = ("first", found[0]) if first_wins else ("last", found[-1])
            self.messages.warning(
                f"{keyword} is given {len(found)} times; the {which} one, line {other.place.line}, counts",
                found[1].place,
            )
        return found[0] if first_wins else found[-1]

    def value(self, keyword: str, read: Callable[[Statement], T], default: T) -> T:
        """Return what ``read`` makes of ``keyword``, or ``default``. A bad value is an error, and gives the default."""
        statement = self.one(keyword)
        if statement is None or statement.broken:
            return default
        try:
            return read(statement)
        except ConfigError as error:
            self.messages.add(error)
            return default

    def flag(self, keyword: str, default: bool = False) -> bool:
        """Return an optional BOOL."""
        return self.value(keyword, lambda statement: boolean(statement.values, keyword), default)

    def seconds(self, keyword: str, low: float, high: float, default: Duration) -> Duration:
        """Return a TIMER as a Duration."""
        return self.value(
            keyword, lambda statement: seconds(statement.values[0], low, high, keyword), default
        )

    def lines(self, keyword: str) -> list[Statement]:
        """Return the entries of every ``keyword { ... }`` block."""
        return [entry for statement in self.all(keyword) for entry in statement.block or []]

    def words(self, keyword: str) -> list[Token]:
        """Return all words of every ``keyword { ... }`` block, whatever their lines."""
        return [word for entry in self.lines(keyword) for word in entry.words]

    def section(self, keyword: str, context: str = "") -> Section:
        """Return the block ``keyword { ... }`` (all of them, as one) as a section of its own."""
        return Section(context or keyword, self.lines(keyword), self.messages)


def _admit(context: str, statement: Statement, messages: Messages) -> Keyword | None:
    """Return the statement's row if it is implemented and well-formed; otherwise say what is wrong with it."""
    row = lookup(context, statement.keyword)
    if row is None:
        _unknown(context, statement, messages)
        return None
    if row.verdict is not Verdict.DO:
        _answer(row, statement, messages)
        return None
    return row if _well_formed(row, statement, messages) else None


def _unknown(context: str, statement: Statement, messages: Messages) -> None:
    name, remedy = statement.keyword, suggestion(context, statement.keyword)
    where = "at the top level" if context == "top" else f"in {context}"
    if statement.block is not None:
        messages.error(f"unknown block {name!r} {where}", statement.place, remedy or "remove the block")
    else:
        messages.warning(f"unknown keyword {name!r} {where}: the line has no effect", statement.place, remedy)


def _answer(row: Keyword, statement: Statement, messages: Messages) -> None:
    """Say what a keyword that is not implemented means for the user."""
    name, place = row.name, statement.place
    if statement.values and statement.values[0].text in _SWITCHED_OFF.get(row.usage, ()):
        return
    if row.verdict is Verdict.REFUSE:
        messages.error(f"{name} is not supported", place, row.remark)
    elif row.verdict is Verdict.WARN:
        messages.warning(f"{name} is not supported: {row.remark}", place, once=name)
    elif row.verdict is Verdict.LVS:
        messages.note(
            "load balancing (LVS) belongs to keepalived: these lines and blocks are skipped",
            place,
            once="LVS",
        )
    else:
        messages.note(f"{name} has no effect" + (f": {row.remark}" if row.remark else ""), place, once=name)


def _well_formed(row: Keyword, statement: Statement, messages: Messages) -> bool:
    """Check braces and the number of words; report undefined ``$NAME`` words."""
    words = statement.words[1:]
    wrong = ""
    if len(words) < row.least:
        wrong = "is missing its value"
    elif row.body is Body.NONE and statement.block is not None:
        wrong = "takes no block"
    elif statement.block is None and row.body in (Body.SECTION, Body.LINES):
        wrong = "needs a block"
    if wrong:
        messages.error(f"{row.name} {wrong}", statement.place, f"write: {row.name} {row.usage}")
        return False
    if row.most is not None and len(words) > row.most:
        statement.broken = _too_many(row, words[row.most], messages)
    if any("$" in word.text for word in words):
        statement.broken = _undefined(row, words, messages) or statement.broken
    return True


def _too_many(row: Keyword, surplus: Token, messages: Messages) -> bool:
    """Report the first word that is not read; return whether its loss makes the statement unusable."""
    remedy = "one keyword a line" if lookup(row.context, surplus.text) else f"write: {row.name} {row.usage}"
    text = f"{surplus.text!r} after {row.name} is not read"
    if row.context == "authentication" or lookup(row.context, surplus.text):
        messages.error(text, surplus.place, remedy)
        return True
    messages.warning(text, surplus.place, remedy)
    return False


def _undefined(row: Keyword, words: list[Token], messages: Messages) -> bool:
    """Report names that nothing defines; return whether that makes the statement unusable."""
    if row.name == "auth_pass":
        return False
    broken = False
    for word in words:
        if word.quoted and ("${" in word.text or "$(" in word.text):
            messages.warning(
                f"nothing replaces the $ in {word.text!r}", word.place, "commands run without a shell"
            )
        elif not word.quoted and (word.text.startswith("$") or "${" in word.text):
            messages.error(
                f"{word.text!r} uses a name that is not defined", word.place, "define it with $NAME=value"
            )
            broken = True
    return broken
