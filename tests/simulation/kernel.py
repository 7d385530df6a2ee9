"""What survives an agent's death on a host: the gate and the addresses, as the kernel keeps them."""

from __future__ import annotations

from haagent.agent.succession import Layout
from haagent.core.units import Instant


class Kernel:
    """The gate (an absolute BOOTTIME deadline, an open flag with its epoch per claim) and addresses with lifetimes.

    ``guards`` is the claim of every thing, ``addresses`` maps instances to the BOOTTIME at which their addresses vanish
    by themselves.
    """

    def __init__(self) -> None:
        self.deadline: Instant = 0
        self.open: dict[str, int] = {}
        self.guards: dict[object, str] = {}
        self.addresses: dict[str, Instant] = {}

    def guard(self, layout: Layout, leaving: Layout) -> None:
        """Guard what is configured, and what is on its way out under the claim it had, unless that has another use now."""
        claims = {guarded.claim for guarded in layout.values()}
        self.guards = {
            thing: "" if guarded.claim in claims else guarded.claim
            for guarded in leaving.values()
            for thing in guarded.things
        }
        self.guards |= {thing: guarded.claim for guarded in layout.values() for thing in guarded.things}

    def answers(self, thing: str, boot: Instant) -> bool:
        """Tell whether packets to and from a thing pass."""
        return self.passes(self.guards.get(thing, ""), boot)

    def passes(self, claim: str, boot: Instant) -> bool:
        """Tell whether the claim's packets pass."""
        return claim in self.open and boot < self.deadline

    def has(self, instance: str, boot: Instant) -> bool:
        """Tell whether the instance's addresses are there; expire them if it is time."""
        expires = self.addresses.get(instance)
        if expires is None:
            return False
        if boot >= expires:
            del self.addresses[instance]
            return False
        return True
