"""Choosing a tier, and looking at or clearing what hangs on this host without a running agent.

``open_gate`` promises a gate that is closed (or, with ``keep``, as it was) when it returns, and exactly one. It
refuses rather than run with less than was asked for. ``inspect`` changes nothing; ``sweep`` removes everything that
is haagent's in this network namespace and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from haagent.effects.gate import bpf_attach, bpf_syscall, nft_messages
from haagent.effects.gate.bpf_gate import BpfGate, detach
from haagent.effects.gate.bpf_state import SharedState
from haagent.effects.gate.lifetime_gate import RecordingGate
from haagent.effects.gate.model import Adopted, Gate, Guard, Tier, check_guards
from haagent.effects.gate.netlink import NetlinkSocket
from haagent.effects.gate.nft_gate import NftablesGate, hooked_interfaces, read_state, remove_table
from haagent.errors import EffectError

Mode: TypeAlias = Literal["auto", "required", "bpf", "nftables", "lifetime", "off"]

_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
_BPF_CAPABILITIES = (
    "CAP_NET_ADMIN",
    "CAP_SYS_ADMIN",
)  # SYS_ADMIN includes BPF, and is needed to look up by id
_BPF_KERNEL, _NFTABLES_KERNEL = (5, 8), (5, 16)
_HOOKS = {0: "ingress", 1: "egress"}
_STATUS = "/proc/self/status"


@dataclass(frozen=True, slots=True)
class Hanging:
    """One piece of a gate on one hook: ``mechanism`` is tcx, clsact or nftables."""

    interface: str
    hook: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What hangs in this network namespace, and what it lets pass, by tier."""

    hanging: tuple[Hanging, ...]
    states: tuple[tuple[Tier, Adopted], ...]


def open_gate(guards: Iterable[Guard], *, mode: Mode = "auto", keep: bool = False) -> Gate:
    """Install the best gate the mode allows, in the place of whatever an earlier run left.

    It is closed when this returns; with ``keep`` the claims among ``guards`` that an earlier run left open stay open
    until their deadline, see ``Gate.adopt``. ``required`` accepts only tiers that check packets. Raises EffectError.
    """
    checked = check_guards(guards)
    missing: list[str] = []
    gate: Gate | None = None
    if mode in {"auto", "required", "bpf"}:
        gate = _attempt(
            missing, "BPF gate", _BPF_KERNEL, _BPF_CAPABILITIES, lambda: BpfGate(checked, keep=keep)
        )
    if gate is None and mode in {"auto", "required", "nftables"}:
        needs = ("CAP_NET_ADMIN",)
        lacked = tuple(missing)
        gate = _attempt(
            missing,
            "nftables gate",
            _NFTABLES_KERNEL,
            needs,
            lambda: NftablesGate(checked, keep=keep, missing=lacked),
        )
    if gate is None and mode in {"required", "bpf", "nftables"}:
        raise EffectError(f"gate {mode}: this host cannot check packets; " + "; ".join(missing))
    if gate is None:
        gate = RecordingGate(checked, Tier.OFF if mode == "off" else Tier.LIFETIME, tuple(missing))
    _remove_other_tiers(gate.tier)
    return gate


def inspect(interfaces: Sequence[str] | None = None) -> Inspection:
    """Return what hangs on these interfaces (None: on all) and what the kernel would let pass. Raises EffectError."""
    netlink = NetlinkSocket(nft_messages.NETLINK_NETFILTER)
    try:
        programs = bpf_attach.find()
        hooks = _table_hooks(netlink)
        states = _bpf_states(programs)
        if hooks:
            states.append((Tier.NFTABLES, Adopted(*read_state(netlink))))
    except OSError as error:
        raise EffectError(f"the kernel did not let us look at the gate: {error.strerror or error}") from error
    finally:
        netlink.close()
    hanging = [Hanging(one.interface, one.hook.name.lower(), one.mechanism) for one in programs]
    hanging += [Hanging(interface, _HOOKS.get(hook, str(hook)), "nftables") for interface, hook in hooks]
    wanted = tuple(one for one in hanging if interfaces is None or one.interface in interfaces)
    return Inspection(wanted, tuple(states))


def sweep() -> tuple[Hanging, ...]:
    """Remove every gate of haagent from this network namespace and return what was there. Raises EffectError."""
    found = inspect().hanging
    _remove_bpf()
    _remove_nftables()
    return found


def _attempt(
    missing: list[str],
    name: str,
    kernel: tuple[int, int],
    capabilities: Iterable[str],
    build: Callable[[], Gate],
) -> Gate | None:
    """Return the gate, or None after adding to ``missing`` what it lacks."""
    lacking = _lacking(kernel, capabilities)
    if lacking:
        missing.append(f"{name}: {', '.join(lacking)}")
        return None
    try:
        return build()
    except EffectError as error:
        missing.append(f"{name}: {error}")
        return None


def _lacking(kernel: tuple[int, int], capabilities: Iterable[str]) -> list[str]:
    """Return what this host lacks, as phrases for an operator."""
    lacking = []
    release = os.uname().release
    if kernel_version(release) < kernel:
        lacking.append(f"kernel {release} is older than {kernel[0]}.{kernel[1]}")
    held = effective_capabilities()
    lacking += [f"{name} is missing" for name in capabilities if not held >> _CAPABILITIES[name] & 1]
    return lacking


def kernel_version(release: str) -> tuple[int, int]:
    """Return (major, minor) of a uname release such as ``6.1.0-18-amd64``."""
    numbers = [
        int("".join(filter(str.isdigit, part)) or 0) for part in release.partition("-")[0].split(".")[:2]
    ]
    return numbers[0], numbers[1] if len(numbers) > 1 else 0


def effective_capabilities() -> int:
    """Return this process's effective capabilities as a bit mask."""
    with open(_STATUS, encoding="ascii") as lines:
        for line in lines:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    return 0


def _remove_other_tiers(tier: Tier) -> None:
    """Remove what another run left in another mechanism: the new gate is in force already."""
    held = effective_capabilities()
    if tier is not Tier.BPF and bpf_syscall.supported() and held >> _CAPABILITIES["CAP_SYS_ADMIN"] & 1:
        _remove_bpf()
    if tier is not Tier.NFTABLES and held >> _CAPABILITIES["CAP_NET_ADMIN"] & 1:
        _remove_nftables()


def _remove_bpf() -> None:
    try:
        for attachment in bpf_attach.find():
            detach(attachment)
    except OSError as error:
        raise EffectError(
            f"the kernel did not let us remove the BPF gate: {error.strerror or error}"
        ) from error


def _remove_nftables() -> None:
    netlink = NetlinkSocket(nft_messages.NETLINK_NETFILTER)
    try:
        remove_table(netlink)
    except PermissionError as error:
        raise EffectError(
            f"table netdev {nft_messages.TABLE} belongs to a running haagent; stop that first"
        ) from error
    except OSError as error:
        raise EffectError(
            f"the kernel did not let us remove the nftables gate: {error.strerror or error}"
        ) from error
    finally:
        netlink.close()


def _table_hooks(netlink: NetlinkSocket) -> list[tuple[str, int]]:
    try:
        return hooked_interfaces(netlink)
    except OSError:
        return []  # a kernel without nftables, or without the right to ask: then we installed nothing there either


def _bpf_states(programs: Iterable[bpf_attach.Attachment]) -> list[tuple[Tier, Adopted]]:
    states = []
    for map_ids in sorted({tuple(sorted(one.map_ids)) for one in programs}):
        state = SharedState.existing(map_ids)
        if state is None:
            continue
        claims = {name: state.claim(slot) for name, slot in state.names().items()}
        epochs = {name: claim.epoch for name, claim in claims.items() if claim.open}
        states.append((Tier.BPF, Adopted(state.deadline, epochs)))
        state.close()
    return states
