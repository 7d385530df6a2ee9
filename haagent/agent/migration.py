"""What changes for somebody who runs keepalived today, said of his own configuration.

Promises to look at the configuration only, and to name nothing that it does not concern. Proposes text (an arbiter and
peers block, a systemd drop-in); may not write any of it. The reasons are in docs/configuration.md and docs/operating.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from haagent.agent.plan import Plan, plan
from haagent.config.arbiter_text import arbiter_block
from haagent.config.command_model import Notify
from haagent.config.model import ArbiterConfig, Configuration, VrrpInstance

KEY_FILE = "/etc/haagent/peers.key"
PEERS_PORT = 5405
PLACEHOLDER = "etcd://etcd1:2379,etcd2:2379,etcd3:2379/haagent"  # until the operator names his own


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as with keepalived. ``concerns``: the names of what it is about in this configuration."""

    concerns: tuple[str, ...]
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class Migration:
    """Everything ``haagent migrate`` says. ``placeholder``: the arbiter was made up, its endpoints are to be replaced."""

    configuration: Configuration
    differences: tuple[Difference, ...]
    plan: Plan
    additions: str
    drop_in: str
    placeholder: bool


def migrate(
    configuration: Configuration,
    files: Sequence[str],
    *,
    placeholder: bool,
    extra: str,
    own: ArbiterConfig | None = None,
) -> Migration:
    """Return what changes. ``configuration`` has an arbiter; ``extra`` is the path its block is going to have.

    ``own`` is the arbiter of the files themselves. Raises ConfigError if the timing is not safe, or if no block can say
    what the arbiter is.
    """
    return Migration(
        configuration,
        tuple(_differences(configuration)),
        plan(configuration),
        "\n".join([*_arbiter(configuration, own), "", *_peers(configuration)]) + "\n",
        _drop_in(files, extra),
        placeholder,
    )


def _differences(configuration: Configuration) -> Iterator[Difference]:
    """Return what this configuration will notice."""
    for applies, before, now in _DIFFERENCES:
        if concerns := tuple(applies(configuration)):
            yield Difference(concerns, before, now)


def _all(configuration: Configuration) -> list[str]:
    return [one.name for one in configuration.instances]


def _instances(test: Callable[[VrrpInstance], object]) -> Callable[[Configuration], list[str]]:
    return lambda configuration: [one.name for one in configuration.instances if test(one)]


def _scripts(configuration: Configuration) -> list[str]:
    return [one.name for one in configuration.scripts]


def _weighted_without_preemption(configuration: Configuration) -> list[str]:
    return [
        one.name
        for one in configuration.instances
        if not one.preempt and any(track.weight for track in one.track_scripts)
    ]


def _notified(configuration: Configuration) -> list[str]:
    return [one.name for one in configuration.subjects if one.notify != Notify()]


_DIFFERENCES: tuple[tuple[Callable[[Configuration], list[str]], str, str], ...] = (
    (
        _all,
        "a BACKUP that hears nothing for three intervals becomes MASTER, whatever the reason",
        "it must win the claim at the arbiter first; in a split exactly one side does, and the other stays BACKUP",
    ),
    (
        _all,
        "kill -9, a freeze or a hang leaves the address where it was",
        "the kernel shuts the address off at the end of the lease, without the daemon's help",
    ),
    (
        _instances(lambda one: one.initial_state == "MASTER"),
        "'state MASTER' begins as MASTER and takes the address from whoever has it",
        "it begins as BACKUP and takes over by its priority, by a handover: the old MASTER lets go first",
    ),
    (
        _weighted_without_preemption,
        "'nopreempt' makes a MASTER ignore what its weights say",
        "a haagent BACKUP that is better now, and heard the MASTER's priority sink, takes over; one that comes back waits",
    ),
    (
        _scripts,
        "a check that cannot be run (missing file, no permission) counts as passed",
        "it counts as failed, and the log says why; scripts root runs must be writable by root alone",
    ),
    (
        _notified,
        "notify scripts may run in parallel and overtake each other",
        "one at a time and in order for each instance, with HAAGENT_EPOCH in their environment",
    ),
    (
        _instances(lambda one: one.auth_pass),
        "auth_pass is sent and compared in the clear",
        "the same, so old and new nodes accept each other; it protects from mistakes, not from attackers",
    ),
    (
        _all,
        "a mistake in the file ends the daemon at a reload",
        "the reload is refused with file, line and column, and the old configuration stays in force",
    ),
)


def _arbiter(configuration: Configuration, own: ArbiterConfig | None) -> Iterator[str]:
    """Return the arbiter's block, for a second one would be refused: as a comment where the files have another."""
    arbiter = configuration.arbiter
    assert arbiter is not None
    if arbiter == own:
        yield f"# the arbiter block stays as it is ({own.place})"
        return
    if own is not None:
        yield f"# In place of the arbiter block that is there ({own.place}):"
        yield from (f"# {line}" for line in arbiter_block(arbiter))
        return
    yield from arbiter_block(arbiter)
    yield "# The domain is the same on every node of this pair, and nowhere else."


def _peers(configuration: Configuration) -> Iterator[str]:
    """Return the peers block; comments stand where only the operator knows."""
    if configuration.peers is not None:
        yield "# the peers block stays as it is"
        return
    yield "# With this block an outage of the arbiter moves nothing while the nodes see each other. Every node is listed,"
    yield "# itself too, by the name it runs under (the host name, or --node) and one or more of its own addresses."
    yield f"#   head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n' > {KEY_FILE}   (the same file on every node, mode 600)"
    known = _addresses(configuration)
    commented = "" if len(known) > 1 else "# "
    yield f"{commented}peers {{"
    yield f"{commented}    port {PEERS_PORT}"
    yield f"{commented}    key_file {KEY_FILE}"
    for number, address in enumerate(known or ("ADDRESS1", "ADDRESS2"), start=1):
        yield f"{commented}    node NAME{number} {address}"
    yield f"{commented}}}"


def _addresses(configuration: Configuration) -> tuple[str, ...]:
    """Return the nodes' own addresses, this one's first, as far as unicast instances name them."""
    found: dict[str, None] = {}
    for one in configuration.instances:
        if one.unicast is not None and one.source is not None:
            found[str(one.source)] = None
            found.update({str(peer): None for peer in one.unicast.peers})
            break
    return tuple(found)


def _drop_in(files: Sequence[str], extra: str) -> str:
    """Return the drop-in for haagent.service."""
    options = " ".join(f"-f {_word(name)}" for name in (*files, extra))
    return f"[Service]\nExecStart=\nExecStart=haagent run {options}\n"


def _word(text: str) -> str:
    """Return ``text`` as one word of systemd's ExecStart=: quoted if need be, without specifiers and variables."""
    literal = text.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w.,:/@+=%$-]+", literal):
        return literal
    return '"{}"'.format(literal.replace("\\", "\\\\").replace('"', '\\"'))
