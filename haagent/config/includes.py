"""Which files an ``include`` line means: csh-style braces, then a glob; regular files without an execute bit.

Promise: names what it skipped and what matched nothing; reads no file's content.
"""

from __future__ import annotations

import glob
import os
import stat
from dataclasses import dataclass
from pathlib import Path

READ, MATCH, WILDCARD, BRACE = "read", "match", "wildcard_match", "brace_match"
CHECKS = frozenset({READ, MATCH, WILDCARD, BRACE})
# What a variant insists on, in the words of include_check: that everything found can be read; that a name, a
# wildcard, or every alternative in braces matches something.
VARIANTS = {
    "include": frozenset[str](),
    "includer": frozenset({READ}),
    "includem": frozenset({READ, MATCH}),
    "includew": frozenset({READ, MATCH, WILDCARD}),
    "includeb": frozenset({READ, BRACE}),
    "includea": CHECKS,
}
_ALTERNATIVES = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """``files`` in reading order; ``problems`` are files that matched but are not read.

    ``unmatched`` are the alternatives that matched nothing, each with the check that minds.
    """

    files: tuple[Path, ...]
    problems: tuple[str, ...]
    unmatched: tuple[tuple[str, str], ...]

    def missing(self, checks: frozenset[str]) -> list[str]:
        """Return the alternatives that one of ``checks`` misses."""
        return [alternative for alternative, check in self.unmatched if check in checks]


def read_checks(words: list[str], before: frozenset[str]) -> frozenset[str]:
    """Return what ``include_check [+-]CHECK ...`` makes of ``before``; no word is all. Raises ValueError."""
    checks = before if words else CHECKS
    for number, word in enumerate(words):
        name = word.lstrip("+-")
        if name not in CHECKS or (number and name == word):
            raise ValueError(f"include_check {word!r}: write [+-]{', [+-]'.join(sorted(CHECKS))}")
        if word.startswith("-"):
            checks -= {name}
        else:
            checks = checks | {name} if word.startswith("+") else frozenset({READ, name})
    return checks


def matching_files(directory: Path, pattern: str) -> Found:
    """Return what ``pattern``, relative to ``directory``, matches."""
    files: list[Path] = []
    problems: list[str] = []
    unmatched: list[tuple[str, str]] = []
    alternatives = _braces(pattern)
    for alternative in alternatives:
        names = sorted(glob.glob(os.path.join(glob.escape(str(directory)), alternative)))
        if not names:
            check = WILDCARD if glob.has_magic(alternative) else BRACE if len(alternatives) > 1 else MATCH
            unmatched.append((alternative, check))
        for name in names:
            problem = _problem(name)
            if problem:
                problems.append(f"{name}: {problem}")
            else:
                files.append(Path(name))
    return Found(tuple(files), tuple(problems), tuple(unmatched))


def _problem(name: str) -> str:
    try:
        mode = os.stat(name).st_mode
    except OSError as error:
        return error.strerror or "cannot be looked at"
    if not stat.S_ISREG(mode):
        return "not a regular file"
    return "it is executable, and configurations are not" if mode & 0o111 else ""


def _braces(pattern: str) -> list[str]:
    """Return the alternatives of ``a{b,c{d,e}}``; a brace without its partner is an ordinary character."""
    done: list[str] = []
    waiting = [pattern]
    while waiting and len(done) < _ALTERNATIVES:
        text = waiting.pop(0)
        closing = text.find("}")
        opening = text.rfind("{", 0, closing) if closing >= 0 else -1
        if opening < 0:
            done.append(text)
            continue
        options = text[opening + 1 : closing].split(",")
        waiting = [text[:opening] + option + text[closing + 1 :] for option in options] + waiting
        if len(waiting) > _ALTERNATIVES:
            return done
    return done
