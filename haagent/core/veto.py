"""The operator's veto: whether a script lets this node claim, asked before it takes, bids or is reserved for.

Promises that nothing is ever asked for a claim that is held or being taken over from an earlier worker, and that a
claim without a veto is never delayed. One question at a time; the script's answer is an event (``VetoAnswered``), and
whoever never answers never lets the node claim. Either answer is asked for anew after ``pause`` while the node goes on
wanting, so that a bid which stands for minutes does not rest on an old one. A wish that is gone for a moment (the holder
has resigned and not released yet) neither loses a permission that is younger than that nor hurries a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass

from haagent.core.actions import Actions, AskVeto, Tell
from haagent.core.reports import Noticed
from haagent.core.units import Duration, Instant, to_seconds


@dataclass(frozen=True, slots=True)
class Question:
    """What the script is told: ``why`` (takeover, preemption, handover, free), who holds the claim, and its epoch."""

    why: str
    holder: str
    epoch: int
    priority: int


class Veto:
    """The veto of one claim. ``pause`` is None for a claim that has none."""

    def __init__(self, claim: str, pause: Duration | None) -> None:
        self.claim, self.pause = claim, pause
        self.asking = False
        self.allowed = False
        self.refusal = ""  # what the script said, while it stands in the way
        self.ask_at: Instant = 0
        self._resting = False  # nobody wants the claim at present

    @property
    def refused(self) -> bool:
        """Tell whether a refusal stands between the node's wish and the claim."""
        return bool(self.refusal) and not self._resting

    def permits(self) -> bool:
        """Tell whether the node may claim now."""
        return self.pause is None or self.allowed

    def sentence(self, now: Instant) -> str:
        """Return what stands in the way, and until when; empty if nothing does."""
        if self.refused:
            return f"{self.refusal}, asked again {self._when(now)}"
        waiting = self.asking and not self.allowed and not self._resting
        return "the veto script has not answered yet" if waiting else ""

    def _when(self, now: Instant) -> str:
        return "now" if self.asking else f"in {to_seconds(max(0, self.ask_at - now)):.1f} s"

    def next_deadline(self, wanting_at: Instant | None, *, wanted: bool) -> Instant | None:
        """Return when a node that wants the claim from ``wanting_at`` on must be looked at again."""
        if self.pause is None:
            return None if wanted else wanting_at
        if self.asking or wanting_at is None:
            return None
        if wanted:
            return self.ask_at if self.allowed else None  # without a permission: it is ours already
        return max(wanting_at, self.ask_at)

    def ask(self, question: Question, now: Instant) -> Actions:
        """Ask if that is due. To be called whenever the node wants to claim."""
        if self._resting:
            self._resting = False
            self.allowed = self.allowed and now < self.ask_at
        if self.pause is None or self.asking or now < self.ask_at:
            return ()
        self.asking = True
        return (AskVeto(self.claim, question.why, question.holder, question.epoch, question.priority),)

    def answered(self, veto: str, now: Instant) -> Actions:
        """Take in the script's answer: empty, or why the node may not claim."""
        asked = self.asking
        self.asking = False  # also when a reload has removed the veto: another one may restore it
        if not asked or self.pause is None:
            return ()
        self.ask_at = now + self.pause
        before, self.refusal, self.allowed = self.refusal, veto, not veto
        if veto == before:
            return ()
        if not veto:
            return (Tell(Noticed(self.claim, "veto lifted", "this node may claim")),)
        detail = f"{veto}; asked again every {to_seconds(self.pause):g} s"
        return (Tell(Noticed(self.claim, "vetoed", detail)),)

    def rest(self) -> None:
        """Take note that the node does not want the claim at present."""
        self._resting = True

    def fulfilled(self) -> None:
        """Take note that the claim is in use: the next wish is asked about anew, and at once."""
        self._resting, self.allowed, self.refusal, self.ask_at = True, False, "", 0
