"""How a cluster is reached, and as whom."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

from haagent.arbiter import Misconfigured

REREAD = 30.0  # seconds; a pod's token is replaced in its file long before it expires


class Token:
    """A bearer token: none, a text, or a file that is read anew now and then. Never shown."""

    def __init__(self, *, text: str = "", path: Path | None = None) -> None:
        self._text, self._path = text, path
        self._read_at = float("-inf")

    def headers(self) -> dict[str, str]:
        """Return what to add to a request. Raises Misconfigured if the file cannot be read."""
        if self._path is not None and time.monotonic() - self._read_at > REREAD:
            try:
                self._text = self._path.read_text().strip()
            except OSError as error:
                raise Misconfigured(f"arbiter kubernetes: token {self._path}: {error.strerror}") from error
            self._read_at = time.monotonic()
        return {"Authorization": f"Bearer {self._text}"} if self._text else {}

    def forget(self) -> None:
        """Read the file again next time: the token was refused."""
        self._read_at = float("-inf")


@dataclass(frozen=True, slots=True)
class Access:
    """The API servers' URLs (no slash at the end), how to trust them, our namespace there, and our token."""

    bases: tuple[str, ...]
    tls: ssl.SSLContext
    namespace: str
    token: Token = field(repr=False)
