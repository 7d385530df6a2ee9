"""A MASTER's doubt of itself: somebody else speaks for its addresses, or a loop woke too late.

Promises that a doubt ends with nothing but proof, a renewal *sent* after it that has counted, or with the term; and that
it costs no more than one extra renewal per R, whatever is heard meanwhile: more evidence within R of the last doubt is
dropped. Not so that the gate was lost: it lies closed in the kernel then, and only the proof opens it again. What a doubt
means for the gate is the group's business.
"""

from __future__ import annotations

from haagent.core.actions import Actions, Tell
from haagent.core.reports import Doubted
from haagent.core.session import Session
from haagent.core.units import Instant, Now


class Doubt:
    """The doubt about one claim. ``since`` is when it began (``fast``), None if there is none; ``evidence`` of the last."""

    def __init__(self, claim: str, session: Session) -> None:
        self.claim = claim
        self.session = session
        self.since: Instant | None = None
        self.evidence = ""
        self._not_again_before: Instant = 0
        self._challenges = 0  # better advertisements heard in this term

    @property
    def stands(self) -> bool:
        """Tell whether there is one, and no renewal sent after it has counted."""
        return self.since is not None and not self.session.valid_as_of(self.since)

    def arise(self, evidence: str, now: Now, *, gate_lost: bool = False) -> Actions:
        """Begin to doubt and ask for proof; nothing if one is under way, or was a moment ago.

        With ``gate_lost`` a doubt of a moment ago only puts the proof off, until R after that one.
        """
        resting = self._not_again_before - now.fast
        if self.since is not None or (resting > 0 and not gate_lost):
            return ()
        if resting > 0:
            self.session.renew_within(resting, now)
        else:
            self._not_again_before = now.fast + self.session.parameters.renew
            self.session.revalidate(now)
        self.since, self.evidence = now.fast, evidence
        return (Tell(Doubted(self.claim, evidence)),)

    def challenged(self) -> bool:
        """Count an advertisement that outranks ours; tell whether it is the second one after the proof."""
        self._challenges += 1
        return self._challenges > 2 and self.since is None

    def settle(self) -> None:
        """Go on: there is proof."""
        self.since = None

    def forget(self) -> None:
        """Begin anew with the next term."""
        self.since, self._challenges = None, 0
