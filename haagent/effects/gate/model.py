"""What a gate guards, how good it is, and what can be asked of it. No system call is made here.

Theory of operation. A node that lost its claim must stop passing the claim's traffic at a known time even if
nobody runs any more. So the kernel decides for every packet: a packet *of* a claim passes only while the claim
is open **and** the node's deadline lies ahead. One deadline serves the whole node, because one session carries
all its claims; opening and closing is per claim. What is *of* a claim:

* in either direction: frames to (in) and from (out) a virtual MAC, whatever they carry;
* coming in: packets to a virtual address, ARP requests and neighbour solicitations asking for one;
* going out: packets from a virtual address, ARP that names one as the sender, neighbour advertisements for one,
  and VRRP advertisements of its virtual router with a priority above 0.

Everything else passes: the peer's announcements (so a BACKUP's neighbour cache learns where the address went),
a BACKUP's own connections to the address on the peer, other virtual routers, and resignations (priority 0).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, Protocol, TypeAlias

from haagent.errors import EffectError

IPAddress: TypeAlias = IPv4Address | IPv6Address
MAX_CLAIM_NAME = 200


class Tier(StrEnum):
    """The mechanisms, best first."""

    BPF = "bpf"
    NFTABLES = "nftables"
    LIFETIME = "lifetime"
    OFF = "off"

    @property
    def guarantee(self) -> str:
        """What this tier promises, in words for an operator."""
        return _GUARANTEES[self]


_GUARANTEES = {
    Tier.BPF: (
        "every packet is checked in the kernel against an absolute deadline; traffic stops within a millisecond of "
        "it even if haagent hangs, is stopped or dies, and other firewall tools cannot remove the check by accident"
    ),
    Tier.NFTABLES: (
        "every packet is checked in the kernel against a timeout counted from the last renewal; traffic stops within "
        "about 10 ms of the deadline unless haagent is stopped between reading the clock and writing the timeout"
    ),
    Tier.LIFETIME: (
        "addresses disappear by themselves, but seconds after the deadline (`haagent plan` computes how late); VRRP "
        "advertisements of a hung agent cannot be stopped"
    ),
    Tier.OFF: "nothing stops the traffic of an agent that hangs or dies",
}


@dataclass(frozen=True, slots=True)
class GuardedRouter:
    """One virtual router of a claim.

    Its advertisements leave through ``interface`` for ``destinations`` (the multicast group, or the unicast
    peers). ``addresses`` are all its virtual addresses of either family; ``address_interfaces`` are further
    interfaces on which somebody could reach them. ``stations`` are (interface, virtual MAC): whatever the router's
    macvlan interfaces send or receive passes there. An IPv6 link-local address is guarded on the router's own
    interfaces only, any other address on every interface that has a gate.
    """

    vrid: int
    family: Literal[4, 6]
    interface: str
    destinations: tuple[IPAddress, ...]
    addresses: tuple[IPAddress, ...]
    address_interfaces: tuple[str, ...] = ()
    stations: tuple[tuple[str, bytes], ...] = ()

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Every interface that needs a gate for this router, without repeats."""
        bases = (interface for interface, _ in self.stations)
        return tuple(dict.fromkeys((self.interface, *self.address_interfaces, *bases)))


@dataclass(frozen=True, slots=True)
class Guard:
    """What belongs to one claim."""

    claim: str
    routers: tuple[GuardedRouter, ...]


@dataclass(frozen=True, slots=True)
class ClaimGate:
    """One claim as the kernel has it. ``open`` says nothing about the deadline. ``epoch`` is the last one opened with."""

    open: bool
    epoch: int


@dataclass(frozen=True, slots=True)
class GateStatus:
    """What is in force now. ``deadline`` is CLOCK_BOOTTIME in ns; ``problems`` are sentences, none when all is well.

    ``limits`` are those of the problems that are the host's: installing the gate again does not help against them.
    """

    tier: Tier
    deadline: int
    claims: Mapping[str, ClaimGate]
    problems: tuple[str, ...]
    limits: tuple[str, ...] = ()

    @property
    def mendable(self) -> tuple[str, ...]:
        """The problems that installing the gate again may help against."""
        return tuple(problem for problem in self.problems if problem not in self.limits)

    def passes(self, claim: str, now_boot_ns: int) -> bool:
        """Return whether the claim's traffic passes at that time, as far as the gate is concerned."""
        state = self.claims.get(claim)
        return state is not None and state.open and now_boot_ns < self.deadline


@dataclass(frozen=True, slots=True)
class Adopted:
    """The claims that are open in the kernel with their epochs, and the deadline (CLOCK_BOOTTIME ns) they share."""

    deadline: int
    epochs: Mapping[str, int]


class Gate(Protocol):
    """An installed gate. Every call is synchronous and takes microseconds to a few milliseconds.

    Claims are those of the guards given last; another name raises KeyError. EffectError says what the host refused;
    after one from ``extend`` or ``open`` the gate is as closed as before or more.
    """

    @property
    def tier(self) -> Tier: ...

    def extend(self, until_boot_ns: int) -> None:
        """Set the node's deadline, absolute CLOCK_BOOTTIME in ns. A time in the past closes everything."""

    def open(self, claim: str, epoch: int) -> None:
        """Let the claim's traffic pass while the deadline lies ahead. ``epoch`` is 0 or more, below 2**63."""

    def close(self, claim: str) -> None:
        """Stop the claim's traffic now; the epoch is remembered. Idempotent."""

    def close_all(self) -> None:
        """Stop everything now: the deadline becomes 0 and every claim is closed."""

    def reconfigure(self, guards: Iterable[Guard]) -> None:
        """Guard these instead. Claims that stay keep their state without a gap; new ones are closed.

        Also looks interfaces up again: call it with the same guards when an interface has (re)appeared, before an
        address is put on it.
        """

    def status(self) -> GateStatus:
        """Return what the kernel has now."""

    def adopt(self) -> Adopted:
        """Return what is open in the kernel, for a worker that continues where another one ended."""

    def remove(self) -> None:
        """Take the gate off every interface. For a clean end, after the addresses are gone. Idempotent."""


def boot_now() -> int:
    """Return CLOCK_BOOTTIME in ns, the clock of every deadline here; a time namespace may shift it (``bpf_clock``)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def check_guards(guards: Iterable[Guard]) -> tuple[Guard, ...]:
    """Return the guards as a tuple. Raises EffectError if two claims guard one thing or a value cannot be one."""
    checked = tuple(guards)
    owners: dict[object, str] = {}
    if len({guard.claim for guard in checked}) != len(checked):
        raise EffectError("the gate was given one claim name twice")
    for guard in checked:
        if not 0 < len(guard.claim.encode()) <= MAX_CLAIM_NAME:
            raise EffectError(f"claim name {guard.claim!r}: accepted are 1 to {MAX_CLAIM_NAME} bytes")
        for router in guard.routers:
            _check_router(guard.claim, router)
            for what, subject in guarded_things(router):
                if owners.setdefault(subject, guard.claim) != guard.claim:
                    raise EffectError(f"claims {owners[subject]} and {guard.claim} both guard {what}")
    return checked


def guarded_things(router: GuardedRouter) -> Iterable[tuple[str, object]]:
    """Yield (description, key) of everything of the router that must belong to a single claim."""
    for address in router.addresses:
        for scope in scopes(router, address):
            yield f"address {address}" + (f" on {scope}" if scope else ""), (address, scope)
    for interface, mac in router.stations:
        yield f"MAC {mac.hex(':')} on {interface}", (interface, mac)
    for destination in router.destinations:
        yield (
            f"VRID {router.vrid} (IPv{router.family}) towards {destination} on {router.interface}",
            (router.vrid, router.family, router.interface, destination),
        )


def scopes(router: GuardedRouter, address: IPAddress) -> tuple[str, ...]:
    """Return the interfaces an address is bound to, or ("",) for one that is unique on the node."""
    # fe80::1 may be the virtual address of a different claim on every link.
    link_local = isinstance(address, IPv6Address) and address.is_link_local
    return router.interfaces if link_local else ("",)


def _check_router(claim: str, router: GuardedRouter) -> None:
    if not 1 <= router.vrid <= 255:
        raise EffectError(f"claim {claim}: VRID {router.vrid}, accepted are 1 to 255")
    if not router.destinations:
        raise EffectError(f"claim {claim}: VRID {router.vrid} has no destination for its advertisements")
    for destination in router.destinations:
        if destination.version != router.family:
            raise EffectError(
                f"claim {claim}: VRID {router.vrid} is IPv{router.family}, its destination is {destination}"
            )
