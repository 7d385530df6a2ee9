"""Any text is answered with a Configuration or with ConfigErrors, nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import corpus_table
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haagent.config.arbiters import parse_arbiter
from haagent.config.dump import to_json
from haagent.config.grammar import TABLES, Body
from haagent.config.load import load
from haagent.config.messages import ConfigErrors

KEYWORDS = sorted({name for table in TABLES.values() for name in table})
VALUES = [
    "{",
    "}",
    "\n",
    "\n",
    "1",
    "255",
    "-1",
    "0.5",
    "eth0",
    "10.0.0.1/24",
    "2001:db8::1",
    '"',
    "'",
    "\\",
    "#",
    "!",
    "$A",
    "${A}",
]
VALUES += [
    "\n$A=",
    "~SEQ(A,1,3)",
    "~LST(A,x,y)",
    "@here",
    "weight",
    "reverse",
    "dev",
    "MASTER",
    "on",
    "none",
    "etcd",
    "nan",
    "1e400",
]
WORDS = st.lists(st.sampled_from(KEYWORDS + VALUES * 6) | st.text(max_size=6), max_size=60).map(" ".join)
RELAXED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def answer(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        assert to_json(load([path], config_id="here", environ={}))
    except ConfigErrors as errors:
        assert errors.errors
        assert str(errors)


@RELAXED
@given(st.text() | WORDS)
def test_any_text(tmp_path: Path, text: str) -> None:
    answer(tmp_path / "c.conf", text.encode("utf-8", "surrogatepass"))


def section(dice: random.Random, context: str, depth: int = 0) -> list[str]:
    """Return lines of a block: mostly right keywords in the right place, with right and wrong values."""
    lines = []
    for _ in range(dice.randrange(8)):
        row = TABLES[context][dice.choice(list(TABLES[context]))]
        count = max(0, row.least + dice.choice((0, 0, 0, 1, -1)))
        line = " ".join([row.name, *(dice.choice(VALUES).strip("{}\n") for _ in range(count))])
        inner = row.name if row.name in TABLES else "arbiter"
        if row.body is Body.NONE or dice.random() < 0.05:
            lines.append(line)
        elif row.body is Body.LINES or depth > 3:
            lines += [
                line + " {",
                *(" ".join(dice.choices(VALUES, k=2)) for _ in range(dice.randrange(3))),
                "}",
            ]
        else:
            lines += [line + " {", *section(dice, inner, depth + 1), "}"]
    return lines


@pytest.mark.parametrize("seed", range(10))
def test_almost_right_files(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(30):
        answer(tmp_path / "c.conf", "\n".join(section(dice, "top")).encode())


@RELAXED
@given(st.binary())
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    answer(tmp_path / "c.conf", content)


@RELAXED
@given(st.text(max_size=40) | st.builds("{}://{}/{}?{}".format, *[st.text(max_size=12)] * 4))
def test_any_arbiter(text: str) -> None:
    try:
        parse_arbiter(text, {})
    except ConfigErrors as errors:
        assert errors.errors


@pytest.mark.skipif(not corpus_table.CORPUS.is_dir(), reason="the corpus of configurations is not here")
def test_damaged_real_files(tmp_path: Path) -> None:
    """Each real file, cut, spliced and with a few bytes changed; 2 variants each, the same ones every time."""
    dice = random.Random(20240917)
    for path in sorted(corpus_table.CORPUS.glob("*.conf")):
        content = path.read_bytes()[:20_000]
        for _ in range(2):
            damaged = bytearray(
                content[dice.randrange(len(content)) :] + content[: dice.randrange(len(content))]
            )
            for _ in range(dice.randrange(1, 8)):
                damaged[dice.randrange(len(damaged))] = dice.choice(b'{}"\n #!$~@\\0x')
            answer(tmp_path / "c.conf", bytes(damaged))
