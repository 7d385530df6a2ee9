"""Which files an ``include`` line means: csh-style braces, then a glob; regular files without an execute bit.

Promise: names what it skipped and what matched nothing; reads no file's content.
"""

from __future__ import annotations

import glob
import os
import stat
from dataclasses import dataclass
from pathlib import Path

# Whether a variant insists that every alternative of the pattern matches something.
VARIANTS = {
    "include": False,
    "includer": True,
    "includem": True,
    "includew": True,
    "includeb": True,
    "includea": True,
}
_ALTERNATIVES = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """``files`` in reading order; ``problems`` are files that matched but are not read; ``unmatched`` patterns."""

    files: tuple[Path, ...]
    problems: tuple[str, ...]
    unmatched: tuple[str, ...]


def matching_files(directory: Path, pattern: str) -> Found:
    """Return what ``pattern``, relative to ``directory``, matches."""
    files: list[Path] = []
    problems: list[str] = []
    unmatched: list[str] = []
    for alternative in _braces(pattern):
        names = sorted(glob.glob(os.path.join(glob.escape(str(directory)), alternative)))
        if not names:
            unmatched.append(alternative)
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
