"""Every arbiter, broken in every way, between two real agents: never two owners, an outage within the plan, back by itself.

A case is a kind of arbiter and a fault; ``FAULTS`` has them, ``LACKS`` says which kind has no such thing. Without
failsafe a lost arbiter costs the address when the lease is over; with it nobody notices. A sample runs by default, every
case with HAAGENT_FULL=1 (``make arbiter-faults``).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from agent_lab import eventually, log_of, ms
from arbiter_lab import KINDS, SLACK, ArbiterFaultLab, fault_lab, put_back

from haagent.core.units import SECOND
from haagent.lab import faults
from haagent.lab.arbiter import Part, QuorumArbiter
from haagent.lab.arbiter_faults import swallow_connections
from haagent.lab.postgresql import PostgresqlServers

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

FULL = bool(os.environ.get("HAAGENT_FULL"))
Trial = Callable[[ArbiterFaultLab], None]


def killed(part: Part) -> Trial:
    """Kill a part of a redundant arbiter, and start it again later."""

    def trial(lab: ArbiterFaultLab) -> None:
        allowed = lab.interruption(lab.kind.serves_again) if part == "leader" else 0
        with lab.during(f"{part} killed", allowed, settle=2 * lab.lease / SECOND):
            lab.arbiter.kill_part(part)
        with lab.during(f"{part} back"):
            lab.arbiter.restart()

    return trial


def frozen(part: Part) -> Trial:
    """Stop a part of a redundant arbiter, its connections open and silent, and let it go on later."""

    def trial(lab: ArbiterFaultLab) -> None:
        allowed = lab.interruption(lab.kind.serves_again) if part == "leader" else 0
        try:
            with lab.during(f"{part} frozen", allowed, settle=2 * lab.lease / SECOND):
                lab.arbiter.freeze_part(part)
        finally:
            with lab.during(f"{part} thawed"):
                lab.arbiter.thaw()

    return trial


def everything_killed(lab: ArbiterFaultLab) -> None:
    """Without any server the address goes in time, stays away, and comes back with the servers."""
    before = time.monotonic_ns()
    lab.arbiter.kill_part("all")
    gone = time.monotonic_ns()
    _stays_away(lab, gone)
    lab.arbiter.restart()
    away = time.monotonic_ns() - before
    lab.judge("all killed and started again", before, lab.interruption(away))


def everything_frozen(lab: ArbiterFaultLab) -> None:
    """Servers that all hang are as good as none."""
    before = time.monotonic_ns()
    lab.arbiter.freeze_part("all")
    frozen = time.monotonic_ns()
    try:
        _stays_away(lab, frozen)
    finally:
        lab.arbiter.thaw()
    away = time.monotonic_ns() - before + lab.kind.serves_again
    lab.judge("all frozen and thawed", before, lab.interruption(away))


def _stays_away(lab: ArbiterFaultLab, gone: int) -> None:
    """Wait for longer than anybody may act on what the arbiter said before it went."""
    if lab.failsafe:
        time.sleep(2 * lab.wait / SECOND)
        lab.wait_owner("node1")
        return
    lab.wait_owner(None)
    last = lab.last_answered("node1", gone)
    print(f"silent {ms(last - gone)} after the arbiter was gone")
    assert last - gone < lab.lease
    time.sleep(lab.lease / SECOND)
    assert not lab.observer.owners()


def cut_off(*, reject: bool) -> Trial:
    """Cut the MASTER from the arbiter: it is silent in time and replaced, or lives on promises."""

    def trial(lab: ArbiterFaultLab) -> None:
        fault = faults.cut_arbiter(lab.topology, lab.topology.node("node1"), reject=reject)
        _replaced(lab, fault.inject, fault.heal)

    return trial


def files_hang_for_the_master(lab: ArbiterFaultLab) -> None:
    """The MASTER alone gets no answer from any file: what a cut is to other arbiters."""
    _replaced(lab, lambda: lab.arbiter.hang(lab.arbiter.endpoints, "node1"), lab.arbiter.thaw)


def _replaced(lab: ArbiterFaultLab, inject: Callable[[], None], heal: Callable[[], None]) -> None:
    before = time.monotonic_ns()
    inject()
    cut = time.monotonic_ns()
    try:
        if lab.failsafe:
            time.sleep(2 * lab.wait / SECOND)
            lab.wait_owner("node1")
        else:
            taken = lab.wait_owner("node2", patience=4 * lab.lease / SECOND + 5)
            last = lab.last_answered("node1", before)
            print(f"silent after {ms(last - cut)}, replaced after {ms(taken - cut)}")
            assert last - cut < lab.lease
    finally:
        heal()
    lab.judge("MASTER cut from the arbiter", before, 0 if lab.failsafe else lab.takeover())


def connections_swallowed(lab: ArbiterFaultLab) -> None:
    """Every established connection of the MASTER goes silent without a reset; new ones work. The lease outlives it."""
    fault = swallow_connections(lab.topology, lab.topology.node("node1"))
    try:
        with lab.during("connections swallowed", settle=2 * lab.lease / SECOND):
            fault.inject()
    finally:
        fault.heal()


def wrong_credentials(lab: ArbiterFaultLab) -> None:
    """A node with the wrong secret claims nothing, says why, and does not disturb the other one."""
    wrong = lab.topology.workdir / "wrong.secret"
    wrong.touch(mode=0o600)
    wrong.write_text("this-one-is-not-right-at-all")
    right = lab.named("node2")
    right.stop()
    since, epoch = time.monotonic_ns(), lab.named("node1").instance()["epoch"]
    stranger = lab.agent("node2", "", lab.addition(wrong))
    eventually(lambda: "misconfigured" in stranger.text(), 15, "saying that the secret is wrong")
    time.sleep(lab.wait / SECOND)
    lab.judge("wrong secret on node2", since, 0)
    assert lab.named("node1").instance()["epoch"] == epoch
    lab.named("node1").stop()
    lab.wait_owner(None)
    time.sleep(2 * lab.wait / SECOND)
    assert not lab.observer.owners(), "a node the arbiter refuses claimed the address"
    assert wrong.read_text() not in stranger.text()
    stranger.stop()
    lab.daemons["node2"] = right


def wiped(lab: ArbiterFaultLab) -> None:
    """Every record is gone: nobody takes that for a free address; who had it has it again after W."""
    before, lost = time.monotonic_ns(), log_of(lab.named("node1"), "session lost")
    lab.arbiter.wipe()
    away = time.monotonic_ns() - before
    eventually(lost, lab.wait / SECOND, "noticing that the arbiter forgot")
    lab.judge("wiped", before, away + lab.forgotten())


def restored(lab: ArbiterFaultLab) -> None:
    """The arbiter is put back to what it held two failovers ago. It must not be back within W; nothing else is needed."""
    lab.arbiter.save()
    lab.steady()
    for node, other in (("node1", "node2"), ("node2", "node1")):
        lab.named(node).stop()
        lab.wait_owner(other, patience=10)
        lab.begin(node)
    lab.steady()
    epoch, before = lab.named("node1").instance()["epoch"], time.monotonic_ns()
    lab.arbiter.kill_part("all")
    lab.wait_owner(None)
    time.sleep(lab.wait / SECOND)
    lab.arbiter.restore()
    away = time.monotonic_ns() - before
    lab.judge("restored from an old copy", before, lab.interruption(away) + lab.forgotten())
    assert lab.named("node1").instance()["epoch"] > epoch, "an epoch was used twice"


def members_lost(lab: ArbiterFaultLab) -> None:
    """Each arbiter of a quorum in turn hangs, goes on, is killed and started again: any one of them may."""
    arbiter = lab.arbiter
    assert isinstance(arbiter, QuorumArbiter)
    for part in arbiter.parts:
        try:
            with lab.during(f"{part.kind} frozen", settle=lab.lease / SECOND):
                part.freeze_part("all")
        finally:
            part.thaw()
        with lab.during(f"{part.kind} thawed, then killed", settle=lab.lease / SECOND):
            part.kill_part("all")
        with lab.during(f"{part.kind} back"):
            part.restart()


def takeover_without_a_member(lab: ArbiterFaultLab) -> None:
    """The MASTER dies while one arbiter of the quorum is down: the other two decide."""
    epoch = lab.named("node1").instance()["epoch"]
    lab.arbiter.kill_part("one")
    _dies(lab, epoch)
    lab.arbiter.restart()


def member_wiped(lab: ArbiterFaultLab) -> None:
    """One arbiter of a quorum forgets everything; it has no vote until the others told it."""
    arbiter = lab.arbiter
    assert isinstance(arbiter, QuorumArbiter)
    for part in arbiter.parts:
        with lab.during(f"{part.kind} wiped", settle=2 * lab.lease / SECOND):
            part.wipe()


def member_restored(lab: ArbiterFaultLab) -> None:
    """One arbiter of a quorum goes back in time while the others do not. Documented as unwise; here nobody notices."""
    arbiter = lab.arbiter
    assert isinstance(arbiter, QuorumArbiter)
    part = arbiter.parts[0]
    part.save()
    time.sleep(2 * lab.lease / SECOND)
    with lab.during(f"{part.kind} restored", settle=2 * lab.lease / SECOND):
        part.kill_part("all")
        part.restore()


def file_lost(lab: ArbiterFaultLab) -> None:
    """One voting file is truncated, then made anew from the others while the agents run."""
    lost, *others = lab.arbiter.endpoints
    with lab.during("file truncated", settle=2 * lab.lease / SECOND):
        os.truncate(lost, 0)
    _replace_file(lab, lost, others)


def file_restored(lab: ArbiterFaultLab) -> None:
    """One voting file comes back from a backup: it is known by its inode and has no vote until it is replaced."""
    lost, *others = lab.arbiter.endpoints
    copy = lab.topology.workdir / "voting.copy"
    shutil.copy(lost, copy)
    time.sleep(lab.lease / SECOND)
    named = log_of(lab.named("node1"), Path(lost).name)
    with lab.during("file restored", settle=2 * lab.lease / SECOND):
        put_back(lost, copy)
    eventually(named, 10, "naming the file that has no vote")
    _replace_file(lab, lost, others)


def _replace_file(lab: ArbiterFaultLab, lost: str, others: list[str]) -> None:
    with lab.during("file replaced", settle=2 * lab.lease / SECOND):
        done = lab.named("node1").cli("arbiter", "replace", lost, *others)
        assert done.returncode == 0, done.stdout + done.stderr
    checked = lab.named("node1").cli("arbiter", "fsck", *lab.arbiter.endpoints)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def promoted(lab: ArbiterFaultLab) -> None:
    """The primary dies and a standby is promoted while the lease runs; then the MASTER dies, too."""
    servers = lab.arbiter.cluster
    assert isinstance(servers, PostgresqlServers)
    epoch, before = lab.named("node1").instance()["epoch"], time.monotonic_ns()
    servers.kill(servers.members[0])
    servers.promote(servers.most_advanced())
    away = time.monotonic_ns() - before
    time.sleep(lab.lease / SECOND)
    lab.judge("failover to a standby", before, lab.interruption(away) or SLACK)
    _dies(lab, epoch)


def _dies(lab: ArbiterFaultLab, epoch: int) -> None:
    """Kill the MASTER's agent and wait for the other one, with a higher epoch."""
    before = time.monotonic_ns()
    process = lab.named("node1").process
    assert process is not None
    process.kill()
    lab.wait_owner("node2")  # its kernel answers until the gate closes
    outage, allowed = lab.outage(before), lab.takeover()
    print(f"MASTER killed: outage {ms(outage)}, allowed {ms(allowed)}")
    assert outage <= allowed + SLACK, lab.logs()
    eventually(lambda: lab.named("node2").instance()["epoch"] > epoch)


FAULTS: dict[str, Trial] = {
    "kill-one": killed("one"),
    "freeze-one": frozen("one"),
    "kill-leader": killed("leader"),
    "freeze-leader": frozen("leader"),
    "kill-all": everything_killed,
    "freeze-all": everything_frozen,
    "cut-master-reset": cut_off(reject=True),
    "cut-master-black-hole": cut_off(reject=False),
    "swallow-connections": connections_swallowed,
    "wrong-credentials": wrong_credentials,
    "wipe": wiped,
    "restore": restored,
}
FILE_FAULTS: dict[str, Trial] = {
    "freeze-one": frozen("one"),
    "freeze-all": everything_frozen,
    "hang-for-master": files_hang_for_the_master,
    "lose-file": file_lost,
    "restore-file": file_restored,
}
QUORUM_FAULTS: dict[str, Trial] = {
    "lose-members": members_lost,
    "takeover-without-member": takeover_without_a_member,
    "wipe-member": member_wiped,
    "restore-member": member_restored,
}
SINGLE = {"kill-one", "freeze-one", "kill-leader", "freeze-leader"}  # of one server: the same as of all
LACKS = {
    "postgresql": SINGLE,
    "witness": SINGLE,
    # its members have the secrets; two of three that forget are a lost quorum, as documented
    "quorum": SINGLE | {"wrong-credentials", "wipe", "restore"},
}
WITH_FAILSAFE = ("kill-all", "freeze-all", "cut-master-black-hole", "hang-for-master")
SAMPLE = {
    ("etcd", "freeze-leader"),
    ("zookeeper", "kill-leader"),
    ("postgresql", "swallow-connections"),
    ("witness", "cut-master-black-hole"),
    ("witness", "wrong-credentials"),
    ("witness", "wipe"),
    ("witness", "restore"),
    ("file", "freeze-one"),
    ("quorum", "wipe-member"),
    ("witness+failsafe", "freeze-all"),
}


def trials(kind: str) -> dict[str, Trial]:
    """Return the faults that an arbiter of ``kind`` can have."""
    if kind == "file":
        return FILE_FAULTS
    if kind == "postgresql-standbys":
        return {"promote": promoted}
    usual = {name: trial for name, trial in FAULTS.items() if name not in LACKS.get(kind, ())}
    return usual | (QUORUM_FAULTS if kind == "quorum" else {})


CASES = [(kind, fault) for kind in KINDS for fault in trials(kind)]
CASES += [(f"{kind}+failsafe", fault) for kind in KINDS for fault in trials(kind) if fault in WITH_FAILSAFE]


class Labs:
    """One lab at a time, kept as long as the next case is about the same arbiter."""

    def __init__(self) -> None:
        self._name = ""
        self._stack = ExitStack()

    def of(self, name: str) -> ArbiterFaultLab:
        """Return the lab of a kind of arbiter, with ``+failsafe`` or without."""
        if name != self._name:
            self.close()
            kind, _, failsafe = name.partition("+")
            self._lab = self._stack.enter_context(fault_lab(kind, failsafe=bool(failsafe)))
            self._name = name
        return self._lab

    def close(self) -> None:
        """Take down the lab there is. What a failed case left behind is not for the next one."""
        self._name = ""
        self._stack.close()


@pytest.fixture(scope="module")
def labs() -> Iterator[Labs]:
    made = Labs()
    yield made
    made.close()


@pytest.mark.parametrize(("arbiter", "fault"), [case for case in CASES if FULL or case in SAMPLE])
def test_a_broken_arbiter_never_makes_two_owners(labs: Labs, arbiter: str, fault: str) -> None:
    try:
        lab = labs.of(arbiter)
        begun = time.monotonic_ns()
        lab.steady()
        trials(arbiter.partition("+")[0])[fault](lab)
        lab.steady()
        assert lab.dual(begun) == 0
        assert not lab.defects(), lab.logs()
    except BaseException:
        labs.close()
        raise


def test_the_sample_is_of_cases_there_are() -> None:
    assert set(CASES) >= SAMPLE
    assert {kind for kind, _ in SAMPLE} >= set(KINDS) - {"postgresql-standbys"}  # takes too long for a sample
