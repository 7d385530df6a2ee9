"""Kernel settings of interfaces (net.ipv4.conf.*) that an instance needs for as long as it exists.

Promises: the value that was there before is put back at the end, unless somebody has changed ours meanwhile.
May not be used for anything whose loss could make two masters.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping

LOG = logging.getLogger("haagent.host")


class HostSettings:
    """Settings by (interface, name)."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str], str] = {}
        self._ours: dict[tuple[str, str], str] = {}

    def hold(self, wanted: Mapping[tuple[str, str], str]) -> None:
        """Have exactly these settings; put the others back."""
        for key in self._ours.keys() - wanted.keys():
            self._restore(key)
        for key, value in wanted.items():
            if self._ours.get(key) != value:
                self._set(key, value)

    def close(self) -> None:
        """Put everything back. Idempotent."""
        self.hold({})

    def _set(self, key: tuple[str, str], value: str) -> None:
        try:
            before = _read(key)
            _write(key, value)
        except OSError as error:
            LOG.warning("cannot set %s of %s to %s: %s", key[1], key[0], value, error.strerror)
            return
        self._before.setdefault(key, before)
        self._ours[key] = value

    def _restore(self, key: tuple[str, str]) -> None:
        ours, before = self._ours.pop(key), self._before.pop(key)
        with contextlib.suppress(OSError):
            if _read(key) == ours:
                _write(key, before)


def _path(key: tuple[str, str]) -> str:
    return f"/proc/sys/net/ipv4/conf/{key[0]}/{key[1]}"


def _read(key: tuple[str, str]) -> str:
    with open(_path(key), encoding="ascii") as file:
        return file.read().strip()


def _write(key: tuple[str, str], value: str) -> None:
    with open(_path(key), "w", encoding="ascii") as file:
        file.write(value)
