"""Failures that leave no doubt, for use inside an arbiter.

To haagent each of them is ``Unavailable``. Inside, they say more: nothing was done, so a question that met only
these may be put to another server, and another server's Conflict counts.
"""

from __future__ import annotations

from haagent.arbiter import Unavailable


class NotDone(Unavailable):
    """For certain nothing was done, now or later."""


class NotSent(NotDone):
    """No connection, so for certain nothing was asked of this server."""


class Untrusted(NotSent):
    """The TLS handshake cannot succeed with what this server showed; the other servers may be fine."""
