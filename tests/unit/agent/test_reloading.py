"""Which instances a reload takes on only after what was there before has let go."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from haagent.agent.parameters import guards
from haagent.agent.reloading import Reloader, _union, _waiting, _without
from haagent.config.model import Configuration, Daemon, GlobalDefs, SyncGroup, VrrpInstance
from haagent.config.network_model import VirtualAddress
from haagent.core.observation import SessionObservation
from haagent.core.records import Holder, SessionRecord
from haagent.core.register import Record
from haagent.core.units import SECOND, Now
from haagent.effects.gate.model import check_guards


def instance(name: str, number: int) -> VrrpInstance:
    return VrrpInstance(name, "eth0", number, (VirtualAddress(ip_address(f"192.0.2.{number}"), 32, "eth0"),))


A, B, C = (instance(name, number) for number, name in enumerate("ABC", 51))
WITH_A = replace(B, addresses=(*B.addresses, *A.addresses))


def configuration(*instances: VrrpInstance, **groups: str) -> Configuration:
    made = tuple(SyncGroup(name, tuple(members)) for name, members in groups.items())
    return Configuration(GlobalDefs(), instances, made, (), None, None, Daemon("a"))


@pytest.mark.parametrize(
    ("before", "fresh", "waiting"),
    [
        (configuration(A, B), configuration(A, B), ""),
        (configuration(A), configuration(A, B), ""),
        (configuration(A), configuration(replace(A, priority=7)), ""),
        (configuration(A, B), configuration(A, B, G="AB"), "AB"),
        (configuration(A, B, G="AB"), configuration(A, B), "AB"),
        (configuration(A, B, G="AB"), configuration(A, B, G="A"), "B"),
        (configuration(A, B, G="AB"), configuration(A, B, H="AB"), "AB"),
        (configuration(A, B, C, G="AB"), configuration(A, B, C, G="ABC"), "ABC"),
        (configuration(A, C, G="A"), configuration(A, B, C, G="AB"), ""),
        (configuration(A), configuration(replace(A, name="B")), "B"),
        (configuration(A), configuration(replace(A, name="B"), C, G="BC"), "BC"),
        (configuration(A, B, C, A="A", G="BC"), configuration(A), ""),
        (configuration(A, B), configuration(WITH_A), "B"),
        (configuration(A, B, C, G="BC"), configuration(WITH_A, C, G="BC"), "BC"),
        (configuration(WITH_A, C), configuration(B, replace(A, name="D"), C), ""),
        (configuration(A, B, C), configuration(replace(A, addresses=()), WITH_A, C, G="AC"), "ABC"),
    ],
)
def test_one_thing_has_one_claim(before: Configuration, fresh: Configuration, waiting: str) -> None:
    later = _waiting(before, fresh)
    assert later == set(waiting)
    at_once = _without(fresh, later)
    during = check_guards(guards(_union(before, at_once)))  # raises if two claims guard one thing
    assert {guard.claim for guard in guards(before)} <= {
        guard.claim for guard in during
    }  # for the core to close


@pytest.mark.parametrize(
    ("before", "fresh", "warned"),
    [
        (configuration(A, B), configuration(replace(A, priority=7), B), ""),
        (configuration(A, B, G="AB"), configuration(A, B, C, G="AB"), ""),
        (configuration(A, B), configuration(A, B, G="AB"), "A, B: guarded"),
        (configuration(A, B), configuration(replace(A, name="C"), B), "C: guarded"),
        (configuration(A, B), configuration(replace(A, addresses=()), WITH_A), "B: guarded"),
    ],
)
@pytest.mark.parametrize("alive", [True, False])
def test_another_claim_is_warned_of_while_other_nodes_run(
    before: Configuration, fresh: Configuration, warned: str, caplog: pytest.LogCaptureFixture, *, alive: bool
) -> None:
    other = SessionObservation("b", SECOND)
    if alive:
        session = SessionRecord(Holder("b", "b1"), 1, SECOND, SECOND, "host")
        other.see(Record(session.encode(), "1"), 10 * SECOND)
    clock = SimpleNamespace(read=lambda: SimpleNamespace(now=Now(11 * SECOND, 11 * SECOND)))
    worker: Any = SimpleNamespace(
        configuration=before,
        clock=clock,
        run=SimpleNamespace(node="a"),
        node=SimpleNamespace(observations={"b": other}, groups={}),
    )
    Reloader(worker)._warn_of_other_claims(fresh)
    assert [record.getMessage()[: len(warned)] for record in caplog.records] == [warned] * bool(
        warned and alive
    )


def test_what_is_read_at_the_start_only_is_said(caplog: pytest.LogCaptureFixture) -> None:
    worker: Any = SimpleNamespace(configuration=configuration(A))
    fresh = replace(
        configuration(A), daemon=Daemon("a", log_level="debug", gate="bpf", minimum_tenure=SECOND)
    )
    Reloader(worker)._say_what_waits_for_a_restart(fresh)
    assert [record.getMessage() for record in caplog.records] == [
        "gate bpf counts from the next restart on",
        "log_level debug counts from the next restart on",
    ]


def holding(before: Configuration, fresh: Configuration, *leaving: str) -> Reloader:
    """Return the reloader of a worker that went from ``before`` to ``fresh``, and whose groups ``leaving`` have not gone yet."""
    groups = {
        name: SimpleNamespace(leaving=True, members=[SimpleNamespace(name=m) for m in members])
        for name, members in (word.split("=") for word in leaving)
    }
    worker: Any = SimpleNamespace(configuration=before, node=SimpleNamespace(groups=groups))
    reloader = Reloader(worker)
    worker.configuration = fresh
    return reloader


def test_what_leaves_is_guarded_until_it_has_let_go() -> None:
    before, fresh = configuration(A, B, C, G="AB"), configuration(C)
    reloader = holding(before, fresh, "G=AB")
    assert reloader.in_force() == replace(before, instances=(C, A, B))
    reloader._worker.node.groups.clear()
    assert reloader.in_force() == fresh


def test_nothing_gets_another_claim_as_long_as_the_old_one_has_not_let_go() -> None:
    renamed = configuration(replace(A, name="B"))
    reloader = holding(configuration(A), configuration(), "A=A")
    assert _waiting(reloader.in_force(), renamed) == {"B"}
    reloader._worker.node.groups.clear()
    assert _waiting(reloader.in_force(), renamed) == set()


def test_what_had_to_wait_comes_of_the_file_as_it_was_read_when_the_old_claim_has_gone(caplog) -> None:
    """Counterexample: the file was read again a second later, half written, and neither name was in force."""
    caplog.set_level("INFO")
    reloader = holding(configuration(A), configuration(A), "A=A")
    worker = reloader._worker
    timers: list[Any] = []
    taken: list[set[str]] = []

    def take_over(fresh: Configuration) -> None:
        worker.configuration = fresh
        taken.append({one.name for one in fresh.instances})

    worker.loop = SimpleNamespace(
        call_later=lambda _delay, callback: timers.append(callback) or SimpleNamespace(cancel=lambda: None)
    )
    worker.node.context = SimpleNamespace(stopping=False)
    reloader._take_over = take_over  # type: ignore[method-assign]
    renamed = configuration(replace(A, name="B"), C)
    reloader._adopt(renamed, _waiting(reloader.in_force(), renamed))
    assert taken == [{"C"}]
    timers.pop()()
    assert taken == [{"C"}]  # A has not let go yet
    worker.node.groups.clear()
    assert "configuration reloaded" not in caplog.text
    timers.pop()()
    assert taken == [{"C"}, {"B", "C"}]
    assert timers == []
    assert caplog.text.count("configuration reloaded") == 1


async def test_a_reload_that_a_stop_overtakes_changes_nothing() -> None:
    worker: Any = SimpleNamespace(
        configuration=configuration(A),
        service=SimpleNamespace(reloading=lambda: None),
        node=SimpleNamespace(context=SimpleNamespace(stopping=False)),
    )

    def load() -> Configuration:
        worker.node.context.stopping = True
        return configuration(B)

    worker.sources = SimpleNamespace(load=load)
    assert await Reloader(worker).reload() == "the agent is stopping"
    assert worker.configuration == configuration(A)
