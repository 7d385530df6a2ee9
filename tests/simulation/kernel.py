"""What survives an agent's death on a host: the gate and the addresses, as the kernel keeps them."""

from __future__ import annotations

from haagent.core.units import Instant


class Kernel:
    """The gate (an absolute BOOTTIME deadline, an open flag with its epoch per claim) and addresses with lifetimes.

    ``addresses`` maps instances to the BOOTTIME at which their addresses vanish by themselves.
    """

    def __init__(self) -> None:
        self.deadline: Instant = 0
        self.open: dict[str, int] = {}
        self.addresses: dict[str, Instant] = {}

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
