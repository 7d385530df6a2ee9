"""What reading a configuration has to say: errors, warnings and notes, each with its place.

Promise: everything is collected, nothing is printed, and one reading reports all problems, not just the first.

* error    haagent refuses to run: what was written cannot be honoured, and ignoring it could change who may be
           MASTER or what a peer accepts.
* warning  haagent runs, but the author probably expects something else.
* note     haagent runs and nothing is lost; the line has no effect here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from haagent.errors import ConfigError, Place


class ConfigErrors(ConfigError):  # noqa: N818 - it is several
    """Every error of one reading, in the order of the files; ``warnings`` and ``notes`` are complete sentences."""

    def __init__(
        self, errors: Sequence[ConfigError], warnings: Sequence[str] = (), notes: Sequence[str] = ()
    ) -> None:
        self.errors, self.warnings, self.notes = tuple(errors), tuple(warnings), tuple(notes)
        super().__init__("\n".join(str(error) for error in self.errors))


@dataclass(slots=True)
class Messages:
    """The collector that every stage of reading writes to."""

    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)

    def error(self, text: str, place: Place | None = None, remedy: str = "") -> None:
        """Refuse the configuration; reading goes on to find the other errors."""
        self.add(ConfigError(text, place, remedy))

    def add(self, error: ConfigError) -> None:
        """Keep an error that was raised while a value was read."""
        self.errors.append(error)

    def warning(self, text: str, place: Place | None = None, remedy: str = "", *, once: str = "") -> None:
        """Warn; with ``once``, only the first warning of that key is kept."""
        if self._first(once):
            self.warnings.append(str(ConfigError(text, place, remedy)))

    def note(self, text: str, place: Place | None = None, *, once: str = "") -> None:
        """Say that something has no effect; with ``once``, only the first note of that key is kept."""
        if self._first(once):
            self.notes.append(str(ConfigError(text, place)))

    def raise_errors(self) -> None:
        """Raise ConfigErrors if there was any error."""
        if self.errors:
            raise ConfigErrors(sorted(self.errors, key=self._order()), self.warnings, self.notes)

    def _order(self) -> Callable[[ConfigError], tuple[int, int, int]]:
        """Return the key that sorts errors by file (as first met) and line; those without a place come first."""
        files = {
            file: index
            for index, file in enumerate(dict.fromkeys(e.place.file for e in self.errors if e.place))
        }

        def key(error: ConfigError) -> tuple[int, int, int]:
            place = error.place
            return (files[place.file], place.line, place.column) if place else (-1, 0, 0)

        return key

    def _first(self, key: str) -> bool:
        if not key:
            return True
        first = key not in self._said
        self._said.add(key)
        return first
