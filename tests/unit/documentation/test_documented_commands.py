"""Every command line of haagent and every make target on the pages exists, with its options and variables."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator

import click
import pytest

from haagent.cli import main
from tests.unit.documentation.pages import PAGES, ROOT, name, pieces

# It stands at the beginning, or behind a prompt or docker's exec; it goes up to a comment, a pipe, or another command.
_COMMAND = re.compile(r"(?:^(?:\$ )?|exec \w+ |; )haagent((?: +(?:'[^']*'|\"[^\"]*\"|[^\s#;|>&'\")]+))+)")
_MAKE = re.compile(r"(?:^|\s)make ([a-z-]+)((?: +[A-Z]+=\S+)*)")
_OTHERS = (
    " {",
    " virtual MAC of",
    " is not running",
)  # a block, an interface's alias, what a command answers


def command_lines() -> Iterator[tuple[str, str]]:
    """Yield the pages' command lines, each with its page."""
    for page in PAGES:
        for piece in pieces(page):
            for found in _COMMAND.findall(piece):
                if not found.startswith(_OTHERS):
                    yield name(page), found.strip()


def resolved(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that the words name, and the words after its name."""
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        step = command.get_command(click.Context(command), words[0])
        assert step is not None, f"there is no command {words[0]!r}"
        command, words = step, words[1:]
    return command, words


LINES = sorted(set(command_lines()))


def test_there_are_some_on_the_pages() -> None:
    assert len({line for _, line in LINES}) >= 50


@pytest.mark.parametrize(("page", "line"), LINES)
def test_a_command_line_has_a_command_and_its_options(page: str, line: str) -> None:
    command, words = resolved(shlex.split(line.replace("[", "").replace("]", "")))
    known = {text for one in command.params for text in (*one.opts, *one.secondary_opts)} | {"-h", "--help"}
    given = {word.partition("=")[0] for word in words if re.match(r"--?[A-Za-z]", word)}
    assert given <= known, f"{page}: `haagent {line}`: no such option {given - known}"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("given", "words"), [((), []), (("INPUTS=7",), ["--inputs", "7"])])
def test_make_fuzz_passes_on_what_it_was_given(given: tuple[str, ...], words: list[str]) -> None:
    command = ["make", "-n", "fuzz", "--directory", str(ROOT), *given]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in said.splitlines() if "tests.fuzz" in line]
    assert shlex.split(line.partition("tests.fuzz")[2]) == words


def test_a_make_target_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    found = {
        (target, words) for page in PAGES for piece in pieces(page) for target, words in _MAKE.findall(piece)
    }
    assert len(found) >= 10
    assert {target for target, _ in found} <= targets
    variables = {word.partition("=")[0] for _, words in found for word in words.split()}
    assert {one for one in variables if f"$({one})" not in makefile} == set()
