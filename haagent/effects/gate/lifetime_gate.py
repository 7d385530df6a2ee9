"""Tiers 3 and 4: no check in the kernel, only the record of what would be open.

Promises nothing about packets. Under LIFETIME the addresses themselves expire (the address effect gives them
lifetimes); under OFF nothing does. Both answer ``status`` truthfully, so an operator sees what is not enforced.
Nothing survives the process: there is nothing to adopt.
"""

from __future__ import annotations

from collections.abc import Iterable

from haagent.effects.gate.model import Adopted, ClaimGate, GateStatus, Guard, Tier, check_guards


class RecordingGate:
    """A gate that stops nothing; see ``model.Gate`` for the calls."""

    def __init__(self, guards: Iterable[Guard], tier: Tier, missing: tuple[str, ...] = ()) -> None:
        """``missing`` says why no better tier is in force."""
        self.tier = tier
        self._missing = missing
        self._deadline = 0
        self._claims: dict[str, ClaimGate] = {}
        self.reconfigure(guards)

    def extend(self, until_boot_ns: int) -> None:
        self._deadline = max(0, until_boot_ns)

    def open(self, claim: str, epoch: int) -> None:
        self._claims[claim]  # an unknown claim is a KeyError here as everywhere
        self._claims[claim] = ClaimGate(open=True, epoch=epoch)

    def close(self, claim: str) -> None:
        self._claims[claim] = ClaimGate(open=False, epoch=self._claims[claim].epoch)

    def close_all(self) -> None:
        self._deadline = 0
        for claim in self._claims:
            self.close(claim)

    def reconfigure(self, guards: Iterable[Guard]) -> None:
        closed = ClaimGate(open=False, epoch=0)
        self._claims = {guard.claim: self._claims.get(guard.claim, closed) for guard in check_guards(guards)}

    def status(self) -> GateStatus:
        problems = (f"gate {self.tier}: {self.tier.guarantee}", *self._missing)
        return GateStatus(self.tier, self._deadline, dict(self._claims), problems)

    def adopt(self) -> Adopted:
        return Adopted(0, {})

    def remove(self) -> None:
        self.close_all()
