"""Tier 2: the gate as an nftables table, for hosts where the BPF gate cannot be had.

Promises: a packet of a claim passes only while the claim is open and the lease element has not timed out, whether
this process lives or not. The timeout is relative: if this process is stopped between reading the clock and the
kernel taking the timeout, the gate stays open for as long as that stop lasted; ``extend`` looks at the clock again
and closes at once when it finds the deadline passed, so only a stop that never ends is not covered.

Kernels from 6.9 on let a table belong to this process (owner) and outlive it (persist): then others cannot flush
it. Elsewhere ``nft flush ruleset`` removes it; the next call notices, installs it again closed and says so. Needs
CAP_NET_ADMIN and kernel 5.16.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from haagent.effects.gate import nft_messages as nft
from haagent.effects.gate.interfaces import guarded_interfaces, interface_indexes, link_type
from haagent.effects.gate.model import Adopted, ClaimGate, GateStatus, Guard, Tier, boot_now, check_guards
from haagent.effects.gate.netlink import NetlinkSocket
from haagent.effects.gate.nft_messages import OWNER, PERSIST, Element, Transaction
from haagent.effects.gate.nft_rules import (
    BASES,
    CHAINS,
    KINDS,
    LEASE,
    Ruleset,
    base_chain,
    close_claim,
    compile_guards,
    install,
    open_claim,
)
from haagent.errors import EffectError

_MILLISECOND = 1_000_000
_ATTEMPTS = 3


class NftablesGate:
    """The gate on this network namespace's interfaces; see ``model.Gate`` for the calls."""

    tier = Tier.NFTABLES

    def __init__(
        self, guards: Iterable[Guard], *, keep: bool, owned: bool = True, missing: tuple[str, ...] = ()
    ) -> None:
        """Install the gate in one transaction, in the place of one left behind. Closed, unless ``keep``.

        ``owned`` False does without the protection of newer kernels; ``missing`` says why no better tier is in force.
        Raises EffectError.
        """
        checked = check_guards(guards)
        self._netlink = NetlinkSocket(nft.NETLINK_NETFILTER)
        self._flags = OWNER | PERSIST if owned else 0
        self._claims: dict[str, ClaimGate] = {}
        self._deadline = 0
        self._generation = 0
        self._restored = ""
        self._missing = missing
        try:
            if keep:
                self._deadline, epochs = read_state(self._netlink)
                self._claims = {claim: ClaimGate(open=True, epoch=epoch) for claim, epoch in epochs.items()}
            self._install(checked)
        except OSError as error:
            self._netlink.close()
            raise _refused("install the nftables gate", error) from error

    def extend(self, until_boot_ns: int) -> None:
        def renew(transaction: Transaction) -> None:
            self._write_lease(transaction, until_boot_ns)

        self._change("extend the nftables gate", renew)
        self._deadline = until_boot_ns
        self._close_if_late()

    def open(self, claim: str, epoch: int) -> None:
        things = self._ruleset.claims[claim]
        self._change(
            f"open the nftables gate of {claim}",
            lambda change: open_claim(change, things, _note(claim, epoch)),
        )
        self._claims[claim] = ClaimGate(open=True, epoch=epoch)

    def close(self, claim: str) -> None:
        self._claims[claim] = ClaimGate(open=False, epoch=self._claims[claim].epoch)
        self._change(
            f"close the nftables gate of {claim}",
            lambda change: close_claim(change, self._ruleset.claims[claim]),
        )

    def close_all(self) -> None:
        def shut(transaction: Transaction) -> None:
            self._write_lease(transaction, 0)
            for things in self._ruleset.claims.values():
                close_claim(transaction, things)

        self._deadline = 0
        self._claims = {
            claim: ClaimGate(open=False, epoch=state.epoch) for claim, state in self._claims.items()
        }
        self._change("close the nftables gate", shut)

    def reconfigure(self, guards: Iterable[Guard]) -> None:
        checked = check_guards(guards)
        try:
            intact = self._intact()
            if not intact:
                self._forget_what_is_open()
            self._install(checked)
        except OSError as error:
            raise _refused("change the nftables gate", error) from error
        if not intact:
            raise EffectError(self._restored)

    def status(self) -> GateStatus:
        deadline, epochs = read_state(self._netlink)
        claims = {
            claim: ClaimGate(open=claim in epochs, epoch=epochs.get(claim, state.epoch))
            for claim, state in self._claims.items()
        }
        return GateStatus(self.tier, deadline, claims, tuple(self._problems()), self._missing)

    def adopt(self) -> Adopted:
        return Adopted(*read_state(self._netlink))

    def remove(self) -> None:
        try:
            remove_table(self._netlink)
        except OSError as error:
            raise _refused("remove the nftables gate", error) from error

    def disown(self) -> None:
        """Close the socket and leave the gate in force, as the end of the process would. No call may follow."""
        self._netlink.close()

    def _install(self, guards: tuple[Guard, ...]) -> None:
        """Replace the whole table, keeping what is open of the claims that stay, in one transaction."""
        names = guarded_interfaces(guards)
        indexes = interface_indexes(names)
        ruleset = compile_guards(guards, indexes, {name: link_type(name) for name in indexes})
        claims = {
            guard.claim: self._claims.get(guard.claim, ClaimGate(open=False, epoch=0)) for guard in guards
        }
        count = self._replace_table(ruleset, claims)
        self._guarding, self._ruleset, self._claims, self._indexes = guards, ruleset, claims, indexes
        self._close_if_late()
        self._generation = nft.generation(self._netlink)
        self._fingerprint = self._look()
        if len(self._fingerprint[1]) != count:
            raise OSError(errno.EIO, "somebody changed the ruleset while it was installed")

    def _replace_table(self, ruleset: Ruleset, claims: dict[str, ClaimGate]) -> int:
        try:
            return self._try_replace_table(ruleset, claims)
        except OSError as error:
            if not self._flags or error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                raise
        self._flags = 0  # a kernel before 6.9
        return self._try_replace_table(ruleset, claims)

    def _try_replace_table(self, ruleset: Ruleset, claims: dict[str, ClaimGate]) -> int:
        transaction = Transaction(self._netlink)
        if nft.table_exists(self._netlink):
            transaction.delete_table()
        transaction.add_table(self._flags)
        count = install(transaction, ruleset)
        for claim, state in claims.items():
            if state.open:
                open_claim(transaction, ruleset.claims[claim], _note(claim, state.epoch))
        if self._deadline > boot_now():
            self._write_lease(transaction, self._deadline, ruleset)
        transaction.commit()
        return count

    def _write_lease(self, transaction: Transaction, until: int, ruleset: Ruleset | None = None) -> None:
        """Let the lease time out at ``until``, rounded down to ms, or end it if that is now."""
        keys = (ruleset or self._ruleset).lease_keys
        left = (until - boot_now()) // _MILLISECOND
        if left > 0:
            transaction.renew_elements(LEASE, [Element(key, left, f"until {until}") for key in keys])
        else:
            transaction.clear_elements(LEASE, [Element(key) for key in keys])

    def _close_if_late(self) -> None:
        """End the lease if the deadline passed while its timeout was on its way into the kernel."""
        if 0 < self._deadline <= boot_now():
            self._change("close the nftables gate", lambda change: self._write_lease(change, 0))

    def _change(self, what: str, fill: Callable[[Transaction], None]) -> None:
        """Commit a change to the table as it was last seen; look at it first if any ruleset changed since."""
        for attempt in range(_ATTEMPTS):
            transaction = Transaction(self._netlink)
            fill(transaction)
            try:
                # The last attempt does not ask: another program that changes rulesets all the time must not stop us.
                transaction.commit(self._generation if attempt < _ATTEMPTS - 1 else None)
            except OSError as error:
                if error.errno not in {errno.ERESTART, errno.ENOENT}:
                    raise _refused(what, error) from error
                self._make_sure()
                continue
            self._generation += 1
            return
        raise EffectError(f"the kernel did not let us {what}: the ruleset keeps changing")

    def _make_sure(self) -> None:
        """Look whether the table is still what was installed; if not, install it closed and raise EffectError.

        An interface that came or went is no damage: the table is made anew with what was open.
        """
        try:
            self._generation = nft.generation(self._netlink)
            intact = self._intact()
            if intact and not self._moved_interfaces():
                return
            if not intact:
                self._forget_what_is_open()
            self._install(self._guarding)
        except OSError as error:
            raise _refused("restore the nftables gate", error) from error
        if not intact:
            raise EffectError(self._restored)

    def _forget_what_is_open(self) -> None:
        self._deadline = 0
        self._claims = {
            claim: ClaimGate(open=False, epoch=state.epoch) for claim, state in self._claims.items()
        }
        self._restored = (
            f"somebody removed or changed table netdev {nft.TABLE}; it was installed again, closed"
        )

    def _moved_interfaces(self) -> set[str]:
        """Return the guarded interfaces that appeared, vanished or were made anew since the installation."""
        now = interface_indexes(guarded_interfaces(self._guarding))
        return {name for name in self._indexes | now if self._indexes.get(name) != now.get(name)}

    def _intact(self) -> bool:
        """Return whether the table is what was installed, but for the base chains of moved interfaces."""
        moved = {base_chain(prefix, name) for name in self._moved_interfaces() for prefix in BASES}
        chains, rules, own = self._look()
        was_chains, was_rules, was_own = self._fingerprint
        return (
            chains - moved == was_chains - moved
            and own == was_own
            and {rule for rule in rules if rule[0] not in moved}
            == {rule for rule in was_rules if rule[0] not in moved}
        )

    def _look(self) -> tuple[frozenset[str], frozenset[tuple[str, bytes]], tuple[frozenset[bytes], ...]]:
        """Return everything of the table that only an installation changes; empty if it is gone."""
        try:
            own = tuple(
                frozenset(one.key for one in nft.elements(self._netlink, f"own_{stem}")) for stem in KINDS
            )
            return frozenset(nft.chains(self._netlink)), nft.rules(self._netlink), own
        except FileNotFoundError:
            return frozenset(), frozenset(), ()

    def _problems(self) -> Iterable[str]:
        yield from self._missing
        if self._restored:
            yield self._restored
        if not self._intact():
            yield f"table netdev {nft.TABLE} is not what was installed; the next renewal installs it again, closed"
        if not self._flags:
            yield "this kernel does not protect tables: nft flush ruleset opens the gate until the next renewal"
        names = guarded_interfaces(self._guarding)
        existing = interface_indexes(names)
        for interface in names:
            if interface not in existing:
                yield f"interface {interface} does not exist, so nothing is guarded there"
            elif interface in self._moved_interfaces():
                yield f"{interface} was made anew and is not guarded yet"


def read_state(netlink: NetlinkSocket) -> tuple[int, dict[str, int]]:
    """Return (deadline, epoch of every open claim) as the kernel has them; (0, {}) without a table."""
    try:
        leases = nft.elements(netlink, LEASE)
        notes = {
            one.comment
            for stem in KINDS
            if stem.startswith("adverts")
            for one in nft.elements(netlink, f"live_{stem}")
        }
    except FileNotFoundError:
        return 0, {}
    deadline = min((_until(lease) for lease in leases), default=0)
    epochs = {
        claim: int(epoch) for epoch, _, claim in (note.partition(" ") for note in notes) if epoch.isdigit()
    }
    return deadline, epochs


def remove_table(netlink: NetlinkSocket) -> bool:
    """Delete the table if there is one; return whether there was. Raises OSError (EPERM: a living process owns it)."""
    if not nft.table_exists(netlink):
        return False
    transaction = Transaction(netlink)
    transaction.delete_table()
    transaction.commit()
    return True


def hooked_interfaces(netlink: NetlinkSocket) -> list[tuple[str, int]]:
    """Return (interface, hook number) of every base chain of the table."""
    found = nft.chains(netlink)
    return sorted((hook[1], hook[0]) for name, hook in found.items() if hook and name not in CHAINS)


def _until(lease: Element) -> int:
    _, _, number = lease.comment.partition("until ")
    return int(number) if number.isdigit() else 0


def _note(claim: str, epoch: int) -> str:
    return f"{epoch} {claim}"


def _refused(what: str, error: OSError) -> EffectError:
    return EffectError(f"the kernel did not let us {what}: {error.strerror or error}")
