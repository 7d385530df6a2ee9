"""Real configurations: each gets a verdict, and every verdict that differs from keepalived's has a known reason."""

from __future__ import annotations

from pathlib import Path

import corpus_table
import pytest

from haagent.config.load import load
from haagent.config.messages import ConfigErrors

pytestmark = pytest.mark.skipif(
    not corpus_table.CORPUS.is_dir(), reason="the corpus of configurations is not here"
)
FILES = sorted(corpus_table.CORPUS.glob("*.conf")) if corpus_table.CORPUS.is_dir() else []


@pytest.fixture(scope="module")
def rows() -> list[corpus_table.Row]:
    return corpus_table.rows()


def test_every_difference_has_a_reason(rows: list[corpus_table.Row]) -> None:
    unexplained = [row.file for row in rows if row.differs and (not row.reasons or "?" in row.reasons)]
    assert not unexplained


def test_what_keepalived_rejects_is_not_accepted_silently(rows: list[corpus_table.Row]) -> None:
    assert [row.file for row in rows if row.keepalived == "reject" and row.ours == "accept"] == []


def test_the_published_table_is_current(rows: list[corpus_table.Row]) -> None:
    published = corpus_table.ROOT / "docs" / "corpus.md"
    assert published.read_text() == corpus_table.table(rows), (
        "run tests/unit/config/corpus_table.py docs/corpus.md"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("config_id", ["high", "low"])
def test_every_message_has_a_place_in_the_file(path: Path, config_id: str) -> None:
    try:
        configuration = load([path], config_id=config_id, environ={})
        said = [*configuration.warnings, *configuration.notes]
    except ConfigErrors as errors:
        said = [*map(str, errors.errors), *errors.warnings, *errors.notes]
    whole = "there is no vrrp_instance"
    assert [message for message in said if not message.startswith((f"{path}:", whole))] == []
