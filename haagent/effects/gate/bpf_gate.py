"""Tier 1: the gate as two small programs per interface, checking every packet against an absolute deadline.

Promises: a packet of a claim passes only while the claim is open and CLOCK_BOOTTIME is before the deadline, whether
this process lives or not. ``extend`` is one store into shared memory. A pause between computing a deadline and
writing it does no harm, because the deadline is absolute. It never touches a program that is not haagent's.
Refused where CLOCK_BOOTTIME of this process is not the clock of the programs (``bpf_clock``).

Needs CAP_NET_ADMIN, CAP_BPF and, to find what an earlier run left, CAP_SYS_ADMIN; kernel 5.8, 6.6 for TCX.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress

from haagent.effects.gate import bpf_attach, bpf_program
from haagent.effects.gate import bpf_syscall as bpf
from haagent.effects.gate.bpf_attach import PROGRAM_NAMES, Attachment, Mechanism
from haagent.effects.gate.bpf_clock import clock_problem
from haagent.effects.gate.bpf_state import MAX_CLAIMS, SharedState, wanted_keys
from haagent.effects.gate.bpf_syscall import Hook
from haagent.effects.gate.interfaces import guarded_interfaces, has_ethernet_header, interface_indexes
from haagent.effects.gate.model import Adopted, ClaimGate, GateStatus, Guard, Tier, check_guards
from haagent.errors import EffectError

_PROGRAMS: dict[Hook, Callable[..., bytes]] = {
    Hook.INGRESS: bpf_program.ingress,
    Hook.EGRESS: bpf_program.egress,
}


class BpfGate:
    """The gate on this network namespace's interfaces; see ``model.Gate`` for the calls."""

    tier = Tier.BPF

    def __init__(self, guards: Iterable[Guard], *, keep: bool, mechanism: Mechanism | None = None) -> None:
        """Install the gate, in the place of one left behind. Closed, unless ``keep`` and the old one can be continued.

        Raises EffectError; what an earlier run left is then as closed as it was, or more.
        """
        checked = check_guards(guards)
        _require_one_clock()
        self._mechanism = mechanism or best_mechanism()
        self._programs: dict[tuple[Hook, bool], int] = {}
        self._indexes: dict[str, int] = {}
        self._removed = False
        self._guarding: tuple[Guard, ...] = ()
        bpf.raise_memlock_limit()
        try:
            left = bpf_attach.find()
            self._state = _continue(left) or SharedState.create()
            self._slots = self._state.names()
            if not keep:
                self.close_all()
            self._guard(checked, left)
        except OSError as error:
            raise _refused("install the BPF gate", error) from error

    def extend(self, until_boot_ns: int) -> None:
        self._state.deadline = max(0, until_boot_ns)

    def open(self, claim: str, epoch: int) -> None:
        self._state.set_claim(self._slots[claim], opened=True, epoch=epoch)

    def close(self, claim: str) -> None:
        slot = self._slots[claim]
        self._state.set_claim(slot, opened=False, epoch=self._state.claim(slot).epoch)

    def close_all(self) -> None:
        self._state.deadline = 0
        for claim in self._slots:
            self.close(claim)

    def reconfigure(self, guards: Iterable[Guard]) -> None:
        checked = check_guards(guards)
        wanted = interface_indexes(guarded_interfaces(checked))
        known = {(index, name) for name, index in (self._indexes | wanted).items()}
        try:
            self._guard(checked, bpf_attach.find(sorted(known)))
        except OSError as error:
            raise _refused("change the BPF gate", error) from error

    def status(self) -> GateStatus:
        return GateStatus(self.tier, self._state.deadline, self._claims(), tuple(self._problems()))

    def adopt(self) -> Adopted:
        epochs = {claim: state.epoch for claim, state in self._claims().items() if state.open}
        return Adopted(self._state.deadline, epochs)

    def remove(self) -> None:
        if self._removed:
            return
        self.close_all()
        try:
            for attachment in bpf_attach.find():
                detach(attachment)
        except OSError as error:
            raise _refused("remove the BPF gate", error) from error
        self._removed = True
        self.disown()

    def disown(self) -> None:
        """Close the descriptors and leave the gate in force, as the end of the process would. No call may follow."""
        for fd in self._programs.values():
            os.close(fd)
        self._programs.clear()
        self._state.close()

    def _claims(self) -> dict[str, ClaimGate]:
        return {claim: self._state.claim(slot) for claim, slot in self._slots.items()}

    def _guard(self, guards: tuple[Guard, ...], found: list[Attachment]) -> None:
        """Guard these; ``found`` are our programs on every interface that had or gets one.

        What is guarded anew is written before a program is attached, and what is not guarded any more is forgotten
        last, so at no time does a packet of a kept claim meet a half-written gate.
        """
        indexes = interface_indexes(guarded_interfaces(guards))
        addresses, routers = self._state.addresses(), self._state.routers()
        slots = self._allot(guards)
        self._slots.update(slots)
        wanted_addresses, wanted_routers = wanted_keys(guards, slots, indexes)
        self._state.replace_keys(self._state.descriptors.addresses, addresses, wanted_addresses)
        self._state.replace_keys(self._state.descriptors.routers, routers, wanted_routers)
        self._attach(indexes, found)
        for claim in self._slots.keys() - slots.keys():
            self._state.set_claim(self._slots[claim], opened=False, epoch=0)
            self._state.forget(self._slots.pop(claim))
        self._indexes, self._guarding = indexes, guards

    def _allot(self, guards: tuple[Guard, ...]) -> dict[str, int]:
        """Return every claim's slot: the one it has, or a free one, closed and named."""
        slots = {guard.claim: self._slots[guard.claim] for guard in guards if guard.claim in self._slots}
        used = set(self._slots.values())
        free = (slot for slot in range(MAX_CLAIMS) if slot not in used)
        for guard in guards:
            if guard.claim in slots:
                continue
            slot = next(free, None)
            if slot is None:
                raise EffectError(f"the BPF gate holds {MAX_CLAIMS} claims, the configuration has more")
            self._state.set_claim(slot, opened=False, epoch=0)
            self._state.name(slot, guard.claim)
            slots[guard.claim] = slot
        return slots

    def _attach(self, indexes: dict[str, int], found: list[Attachment]) -> None:
        """Have exactly one program of ours on each hook of the interfaces given, and none elsewhere."""
        for interface, ifindex in indexes.items():
            for hook in Hook:
                here = [one for one in found if (one.ifindex, one.hook) == (ifindex, hook)]
                if not (len(here) == 1 and self._is_current(here[0])):
                    fd = self._program(hook, ethernet=has_ethernet_header(interface))
                    bpf_attach.place(fd, ifindex, hook, self._mechanism, here[0] if here else None)
                for surplus in here[1:]:
                    bpf_attach.take_off(surplus)
        for attachment in found:
            if attachment.ifindex not in indexes.values():
                detach(attachment)

    def _is_current(self, attachment: Attachment) -> bool:
        """Return whether the program is one this process loaded, attached the way it attaches."""
        own = {bpf.program_info(fd).id for fd in self._programs.values()}
        return attachment.program_id in own and attachment.mechanism is self._mechanism

    def _program(self, hook: Hook, *, ethernet: bool) -> int:
        kind = hook, ethernet
        if kind not in self._programs:
            code = _PROGRAMS[hook](self._state.descriptors, ethernet=ethernet)
            self._programs[kind] = bpf.program_load(PROGRAM_NAMES[hook], code)
        return self._programs[kind]

    def _problems(self) -> Iterable[str]:
        names = interface_indexes(guarded_interfaces(self._guarding))
        found = bpf_attach.find([(index, name) for name, index in names.items()])
        for interface in guarded_interfaces(self._guarding):
            if interface not in names:
                yield f"interface {interface} does not exist, so nothing is guarded there"
                continue
            for hook in Hook:
                here = [
                    one
                    for one in found
                    if (one.interface, one.hook) == (interface, hook) and self._is_current(one)
                ]
                if not here:
                    yield f"{interface}: the {hook.name.lower()} program is gone; somebody detached it or the interface is new"
                elif not here[0].first:
                    yield f"{interface}: another program runs before the gate on {hook.name.lower()} and may bypass it"


def best_mechanism() -> Mechanism:
    """Return TCX if this kernel has it, else clsact."""
    try:
        bpf.attached_programs(_any_interface(), Hook.INGRESS)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOTSUP}:
            return Mechanism.CLSACT
        raise _refused("look for TCX", error) from error
    return Mechanism.TCX


def detach(attachment: Attachment) -> None:
    """Take one program off its interface, and the clsact qdisc with it if nothing else uses that. Raises OSError."""
    bpf_attach.take_off(attachment)
    if attachment.mechanism is Mechanism.CLSACT:
        with suppress(OSError):
            bpf_attach.remove_empty_clsact(attachment.ifindex)


def _require_one_clock() -> None:
    """Raise EffectError if a deadline of ours means another time to the programs, or if that cannot be told."""
    try:
        problem = clock_problem()
    except OSError as error:
        raise _refused("read the clock of BPF programs", error) from error
    if problem:
        raise EffectError(problem)


def _continue(left: list[Attachment]) -> SharedState | None:
    """Open the maps of the gate left behind, if there is one gate and it is of this layout."""
    sets = {frozenset(attachment.map_ids) for attachment in left}
    return SharedState.existing(sets.pop()) if len(sets) == 1 else None


def _any_interface() -> int:
    return min(index for index, _ in socket.if_nameindex())


def _refused(what: str, error: OSError) -> EffectError:
    return EffectError(f"the kernel did not let us {what}: {error.strerror or error}")
