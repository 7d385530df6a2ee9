"""What the rehearsal is not: everything in a file that could not be rebuilt as it stands, said once each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["added", "changed", "left out", "note"]
ORDER: tuple[Kind, ...] = ("added", "changed", "left out", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence for the pre-flight."""

    kind: Kind
    text: str


@dataclass(slots=True)
class Findings:
    """Collects findings; the same one from several nodes counts once."""

    found: dict[Finding, None] = field(default_factory=dict)

    def added(self, text: str) -> None:
        """Say what the rehearsal has and the file has not."""
        self._add(Finding("added", text))

    def changed(self, text: str) -> None:
        """Say what stands for something in the file."""
        self._add(Finding("changed", text))

    def left_out(self, text: str) -> None:
        """Say what of the file is not rehearsed."""
        self._add(Finding("left out", text))

    def note(self, text: str) -> None:
        """Pass on a warning about the file itself."""
        self._add(Finding("note", text))

    def _add(self, finding: Finding) -> None:
        self.found.setdefault(finding)

    def in_order(self) -> tuple[Finding, ...]:
        """Return all, the most important kind first."""
        return tuple(sorted(self.found, key=lambda one: ORDER.index(one.kind)))
