r"""From files to logical lines: includes, conditional lines, definitions and sequences, as keepalived reads them.

* ``include GLOB`` and its stricter variants, ``include_check``; relative to the including file; braces allowed;
  regular files without an execute bit.
* ``@ID line`` counts only if the configuration id is ID; ``@^ID`` and ``@!ID`` only if it is not.
* ``$NAME=value`` defines, a trailing ``\`` continues; ``$NAME`` and ``${NAME}`` use, at the time of use, recursively.
  Built in: ``${_PWD}``, ``${_INSTANCE}``, ``${_ENV NAME}``, ``${_HASH}``, ``${_BANG}``.
* ``~SEQ(...)`` and ``~LST(...)`` repeat the rest of their line, see ``sequences``.

Promise: bounded work on any input (``LINE_LIMIT`` lines, ``LENGTH_LIMIT`` characters a line, ``DEPTH_LIMIT`` levels).
A value keeps the place it was written at: a message about a definition's line names that line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from haagent.config import sequences
from haagent.config.includes import READ, VARIANTS, matching_files, read_checks
from haagent.config.lexer import Line, strip_comment
from haagent.config.messages import Messages
from haagent.errors import ConfigError

LINE_LIMIT = 250_000
LENGTH_LIMIT = 16_384
DEPTH_LIMIT = 32

_CONDITION = re.compile(r"@([\^!]?)(\S+)(?:\s+(.*))?", re.DOTALL)
_DEFINITION = re.compile(r"\$([A-Za-z_]\w*)=\s*(.*)", re.ASCII | re.DOTALL)
_USE = re.compile(r"\$(?:\{([A-Za-z_]\w*)((?:[ \t]+\w+)*)\}|([A-Za-z_]\w*)(?=[ \t,)]|$))", re.ASCII)
_ORDINARY = re.compile(r"[ \t]*(?!include)[^\s@$~!#\\\ud800-\udfff][^$!#\\\ud800-\udfff]*")
_INCLUDE = re.compile(r"(include[rmwba]?)\s+(\S.*)")


class Expander:
    """Reads files into logical lines. One Expander reads one configuration; definitions last across its files."""

    def __init__(self, config_id: str, environ: Mapping[str, str], messages: Messages) -> None:
        self._config_id, self._environ, self._messages = config_id, environ, messages
        self._definitions: dict[str, list[Line]] = {}
        self._continued: list[Line] | None = None
        self._open_files: list[Path] = []
        self._include_checks: frozenset[str] = frozenset()
        self._produced = 0

    def read(self, path: Path) -> Iterator[Line]:
        """Yield the logical lines of ``path`` and of what it includes.

        Raises ConfigError if the file cannot be read or a limit is passed.
        """
        if path.resolve() in self._open_files:
            raise ConfigError(f"{path} includes itself")
        if len(self._open_files) >= DEPTH_LIMIT:
            raise ConfigError(f"includes are nested more than {DEPTH_LIMIT} deep at {path}")
        self._open_files.append(path.resolve())
        name = str(path)
        try:
            for number, physical in enumerate(_text_of(path).split("\n"), 1):
                if self._continued is None and _ORDINARY.fullmatch(physical):
                    self._produced += 1  # the usual line, for speed: nothing in it to expand
                    yield Line(physical.rstrip(), name, number)
                else:
                    yield from self._physical(Line(physical.rstrip("\r"), name, number))
        finally:
            self._continued = None
            self._open_files.pop()

    def _physical(self, line: Line) -> Iterator[Line]:
        if not line.text:
            self._continued = None
            return
        text = line.text
        if text.lstrip()[:2] == "@!":  # "!" is no comment here
            text = text.replace("@!", "@^", 1)
        continues = line.text.endswith("\\") and (self._continued is not None or text.lstrip()[:1] == "$")
        text = strip_comment(text)
        if continues and not text.endswith("\\"):  # a comment does not end a definition that goes on
            text = f"{text} \\"
        if not text.isascii() and any("\udc80" <= char <= "\udcff" for char in text):
            self._messages.error("the line is not UTF-8 text", line.place(1))
        elif self._continued is not None and text:  # a line with a comment alone is not there
            self._continue(line._replace(text=text.strip(), exact=False))
        elif text:
            yield from self._logical(line._replace(text=text, cut=_cut(text, line.text)), 0)

    def _continue(self, line: Line) -> None:
        """Take one more line into the definition that is being written."""
        more = line.text.endswith("\\")
        text = line.text[:-1].rstrip() if more else line.text
        if text and self._continued is not None:
            self._continued.append(line._replace(text=text))
        if not more:
            self._continued = None

    def _logical(self, line: Line, depth: int) -> Iterator[Line]:
        """Yield what one line becomes; ``depth`` counts uses within uses."""
        self._spend(line, depth)
        text = line.text.lstrip()
        if text.startswith("@"):
            rest = self._condition(text)
            if rest:
                yield from self._logical(_rest_of(line, rest), depth + 1)
        elif text.startswith("$") and (definition := _DEFINITION.fullmatch(text)):
            self._define(definition.group(1), line, definition.group(2))
        elif text.startswith(("~SEQ", "~LST")):
            yield from self._repeat(line, text, depth)
        elif "$" in text and (replaced := self._substitute(line)) is not None:
            for one in replaced:
                yield from self._logical(one, depth + 1)
        elif text.startswith("include") and (include := _INCLUDE.fullmatch(text)):
            yield from self._include(line, include.group(1), include.group(2).strip().strip('"'))
        elif text.split()[:1] == ["include_check"]:
            self._check_includes(line, text.split()[1:])
            yield line
        elif text:
            yield line

    def _spend(self, line: Line, depth: int) -> None:
        """Count one more line against the limits, so that no definition can grow without bound."""
        self._produced += 1
        if self._produced > LINE_LIMIT:
            raise ConfigError(f"the configuration expands to more than {LINE_LIMIT} lines", line.place())
        if depth > DEPTH_LIMIT:
            raise ConfigError(
                f"definitions are nested more than {DEPTH_LIMIT} deep; does one use itself?", line.place()
            )
        if len(line.text) > LENGTH_LIMIT:
            raise ConfigError(f"the line is longer than {LENGTH_LIMIT} characters", line.place())

    def _condition(self, text: str) -> str | None:
        """Return the rest of an ``@ID`` line if it counts."""
        match = _CONDITION.fullmatch(text)
        if match is None or not match.group(3):
            return None
        return match.group(3) if (match.group(2) == self._config_id) != bool(match.group(1)) else None

    def _define(self, name: str, line: Line, value: str) -> None:
        more = value.endswith("\\")
        text = value[:-1].rstrip() if more else value
        self._definitions[name] = (
            [Line(text, line.file, line.number, exact=False)] if text or not more else []
        )
        if more:
            self._continued = self._definitions[name]

    def _substitute(self, line: Line) -> list[Line] | None:
        """Return ``line`` with the first definition in it replaced, or None if nothing in it is defined.

        A value of several lines is used only at the end of a line, and its lines follow as they are.
        """
        for match in _USE.finditer(line.text):
            value = self._value(match, line)
            if value is None or (len(value) > 1 and line.text[match.end() :].strip()):
                continue
            first, *others = value or [Line("", line.file, line.number)]
            whole = (line.text[: match.start()] + first.text + line.text[match.end() :]).strip()
            text = strip_comment(whole)
            source = first if len(value) > 1 else line
            cut = _cut(text, whole)
            return [Line(text, source.file, source.number, exact=False, cut=cut), *others]
        return None

    def _value(self, match: re.Match[str], line: Line) -> list[Line] | None:
        """Return the lines a use stands for, or None if it is not defined."""
        name, arguments = match.group(1) or match.group(3), (match.group(2) or "").split()
        if name in self._definitions:
            return self._definitions[name]
        builtin = {
            "_PWD": str(Path(line.file).parent),
            "_INSTANCE": self._config_id,
            "_HASH": "#",  # begins a comment, except in double quotes, as any # that substitution brings in
            "_BANG": "!",
        }
        if name == "_ENV" and len(arguments) == 1:
            text = self._environ.get(arguments[0])
        elif name == "_RANDOM":
            raise ConfigError(
                "${_RANDOM} would give every start and every node another configuration", line.place()
            )
        else:
            text = builtin.get(name)
        return None if text is None else [Line(text, line.file, line.number, exact=False)]

    def _repeat(self, line: Line, text: str, depth: int) -> Iterator[Line]:
        head, closing, rest = text.partition(")")
        while "$" in head and (replaced := self._substitute(line._replace(text=head + closing))) is not None:
            self._spend(line, depth)
            head = replaced[0].text.removesuffix(")")
        try:
            names, rounds = sequences.parse(head + closing)
        except ValueError as error:
            self._messages.error(str(error), line.place(1))
            return
        for values in rounds:  # as in keepalived, the names keep their last values
            for name, value in zip(names, values, strict=True):
                self._definitions[name] = [Line(value, line.file, line.number, exact=False)]
            yield from self._logical(Line(rest.strip(), line.file, line.number, exact=False), depth + 1)

    def _check_includes(self, line: Line, words: list[str]) -> None:
        """Change what every include from here on insists on."""
        try:
            self._include_checks = read_checks(words, self._include_checks)
        except ValueError as error:
            self._messages.error(str(error), line.place(1))

    def _include(self, line: Line, variant: str, pattern: str) -> Iterator[Line]:
        found = matching_files(Path(line.file).parent, pattern)
        checks = VARIANTS[variant] | self._include_checks
        for problem in found.problems:
            say = self._messages.error if READ in checks else self._messages.warning
            say(f"{variant} skips {problem}", line.place(1))
        if missing := found.missing(checks):
            self._messages.error(f"{variant}: no file matches {', '.join(missing)}", line.place(1))
        elif not found.files:
            self._messages.warning(
                f"include: no file matches {pattern}", line.place(1), "nothing was included"
            )
        for path in found.files:
            try:
                yield from self.read(path)
            except OSError as error:
                self._messages.error(f"cannot read {path}: {error.strerror}", line.place(1))


def _cut(text: str, whole: str) -> int:
    """Return where a comment began directly behind a word when ``whole`` became ``text``; 0 where none did."""
    return len(text) if whole[len(text) : len(text) + 1] in ("!", "#") else 0


def _rest_of(line: Line, rest: str) -> Line:
    """Return ``line`` with everything before ``rest`` blanked, so that columns still count."""
    return line._replace(text=" " * (len(line.text) - len(rest)) + rest)


def _text_of(path: Path) -> str:
    """Return a file's text as UTF-8; other bytes (comments have them) become surrogates, which no line may keep."""
    content = path.read_bytes()
    if b"\0" in content:
        raise ConfigError(f"{path} contains NUL bytes: it is not a text file")
    return content.decode("utf-8-sig", "surrogateescape")
