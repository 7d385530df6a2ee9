"""What a worker does every second whether anything happens or not, and when its snapshot is written."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from haagent.agent import housekeeping
from haagent.agent.housekeeping import INSPECT_EVERY, PERIOD, SOON, Housekeeping
from haagent.agent.parameters import Timing
from haagent.agent.worker import Worker
from haagent.config.model import Configuration, Daemon, GlobalDefs
from haagent.control.snapshot import read_snapshot
from haagent.core.units import MILLISECOND, SECOND
from haagent.effects.gate import GateStatus, Tier
from haagent.errors import EffectError
from tests.unit.control.views import instance, view


@dataclass(slots=True)
class Timer:
    """A callback that is due after ``delay`` seconds."""

    delay: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class HouseholdWorker:
    """As much of a worker as its housekeeping touches; it notes what is done, and its session lives or not."""

    def __init__(self, directory: Path) -> None:
        self.loop = self
        self.timers: list[Timer] = []
        self.done: list[str] = []
        self.limits: tuple[str, ...] = ()
        self.live, self.tier, self.problems = True, Tier.BPF, ("nobody guards eth0",)
        self.timing = Timing(lease=1500 * MILLISECOND, renew=SECOND, guard=0)
        self.socket_path = str(directory / "n1.sock")
        self.configuration = Configuration(GlobalDefs(), (), (), (), None, None, Daemon("n1"))
        self.reloader = SimpleNamespace(in_force=lambda: self.configuration)
        self.node = SimpleNamespace(session=SimpleNamespace(live=lambda _now: self.live))
        self.clock = SimpleNamespace(read=lambda: SimpleNamespace(now=None))
        self.addresses = SimpleNamespace(refresh=lambda lifetime: self.done.append(f"refresh {lifetime}"))
        self.routes = SimpleNamespace(check=lambda: self.done.append("check"))
        self.unclaimed = SimpleNamespace(look=lambda _node, _now: self.done.append("look"))
        self.gatekeeper = SimpleNamespace(lost=lambda error: self.done.append(str(error)))
        self.service = SimpleNamespace(watchdog=lambda: self.done.append("watchdog"))

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """As the event loop's; the time passes in ``elapse``."""
        self.timers.append(Timer(delay, callback))
        return self.timers[-1]

    def elapse(self, delay: float) -> None:
        """Call what was to be called after just that time."""
        due = [timer for timer in self.timers if timer.delay == delay]
        self.timers = [timer for timer in self.timers if timer.delay != delay]
        for timer in due:
            if not timer.cancelled:
                timer.callback()

    @property
    def gate(self) -> Any:
        return SimpleNamespace(
            tier=self.tier,
            status=lambda: GateStatus(self.tier, 0, {}, self.problems, self.limits),
            reconfigure=self._mend,
        )

    def _mend(self, _guards: object) -> None:
        self.done.append("mend")

    @property
    def snapshot(self) -> Path:
        return Path(self.socket_path).with_suffix(".json")


@pytest.fixture
def worker(tmp_path: Path) -> HouseholdWorker:
    return HouseholdWorker(tmp_path)


@pytest.fixture
def house(worker: HouseholdWorker, monkeypatch: pytest.MonkeyPatch) -> Housekeeping:
    def document(_worker: object) -> object:
        worker.done.append("document")
        return view(instance()).status

    monkeypatch.setattr(housekeeping, "status_document", document)
    return Housekeeping(cast("Worker", worker))


def rounds(worker: HouseholdWorker, house: Housekeeping, number: int) -> None:
    """Let the house be kept for so many rounds, the first of them now."""
    house.start()
    more_rounds(worker, number - 1)


def more_rounds(worker: HouseholdWorker, number: int) -> None:
    for _ in range(number):
        worker.elapse(PERIOD)


def test_lifetimes_outlive_the_lease_and_are_renewed_in_every_round(worker, house) -> None:
    rounds(worker, house, 2)
    assert worker.done == ["refresh 3", "look", "check", "watchdog"] * 2


def test_without_a_session_the_addresses_are_left_to_run_out(worker, house) -> None:
    worker.live = False
    rounds(worker, house, 2)
    assert worker.done == ["look", "check", "watchdog"] * 2


def test_the_gate_is_mended_and_a_snapshot_written_although_nothing_happens(worker, house) -> None:
    rounds(worker, house, INSPECT_EVERY)
    assert worker.done[-2:] == ["mend", "document"]
    assert worker.done.count("mend") == 1
    assert read_snapshot(str(worker.snapshot)) == view(instance()).status


@pytest.mark.parametrize(("tier", "problems"), [(Tier.LIFETIME, ("x",)), (Tier.OFF, ("x",)), (Tier.BPF, ())])
def test_a_gate_that_has_no_problem_or_none_to_mend_is_left_alone(worker, house, tier, problems) -> None:
    worker.tier, worker.problems = tier, problems
    rounds(worker, house, INSPECT_EVERY)
    assert "mend" not in worker.done
    assert "document" in worker.done


def test_what_mending_does_not_help_against_is_mended_and_complained_about_once(
    worker, house, caplog
) -> None:
    rounds(worker, house, 3 * INSPECT_EVERY)
    assert worker.done.count("mend") == 1
    assert caplog.text.count("mending the gate: nobody guards eth0") == 1
    worker.problems = ("nobody guards eth0", "nor eth1")
    more_rounds(worker, 2 * INSPECT_EVERY)
    assert worker.done.count("mend") == 2


def test_the_same_damage_is_mended_again(worker, house, monkeypatch) -> None:
    def mend(_guards: object) -> None:
        worker.done.append("mend")
        worker.problems = ()

    monkeypatch.setattr(worker, "_mend", mend)
    rounds(worker, house, 2 * INSPECT_EVERY)
    worker.problems = ("nobody guards eth0",)
    more_rounds(worker, INSPECT_EVERY)
    assert worker.done.count("mend") == 2


def test_a_gate_that_was_put_back_closed_is_for_the_core_to_open(worker, house, monkeypatch) -> None:
    def mend(_guards: object) -> None:
        worker.problems = ("somebody removed the table",)
        raise EffectError("it was installed again, closed")

    monkeypatch.setattr(worker, "_mend", mend)
    rounds(worker, house, INSPECT_EVERY + 1)
    assert worker.done.count("it was installed again, closed") == 1
    assert worker.done.count("watchdog") == INSPECT_EVERY + 1


def test_a_gate_that_the_host_does_not_let_us_mend_ends_the_worker(worker, house, monkeypatch) -> None:
    def mend(_guards: object) -> None:
        raise EffectError("not permitted")

    monkeypatch.setattr(worker, "_mend", mend)
    with pytest.raises(EffectError):
        rounds(worker, house, INSPECT_EVERY)


def test_reports_that_come_together_are_shown_by_one_snapshot(worker, house) -> None:
    house.start()
    for _ in range(3):
        house.reported()
    assert "document" not in worker.done  # not in the turn of the event loop that had something to report
    worker.elapse(SOON)
    assert worker.done.count("document") == 1


def test_there_is_no_snapshot_before_the_start_nor_after_the_end(worker, house) -> None:
    house.reported()
    assert not worker.timers
    house.start()
    house.reported()
    house.close()
    worker.elapse(SOON)
    worker.elapse(PERIOD)
    assert worker.done.count("watchdog") == 1
    assert not worker.snapshot.exists()


def test_a_snapshot_that_cannot_be_written_is_complained_about_once(worker, house, caplog) -> None:
    worker.snapshot.mkdir()
    with caplog.at_level(logging.WARNING, logger="haagent.agent"):
        rounds(worker, house, 3 * INSPECT_EVERY)
    complaints = [record for record in caplog.records if "snapshot not written" in record.message]
    assert worker.done.count("document") == 3
    assert len(complaints) == 1


def test_what_the_host_lacks_is_nothing_to_mend(worker, house, caplog) -> None:
    worker.tier, worker.problems = Tier.NFTABLES, ("BPF gate: CAP_SYS_ADMIN is missing",)
    worker.limits = worker.problems
    rounds(worker, house, 2 * INSPECT_EVERY)
    assert "mend" not in worker.done
    assert "mending" not in caplog.text


def test_nothing_is_written_after_the_end(worker, house) -> None:
    house.start()
    house.close()
    house.reported()
    assert [timer for timer in worker.timers if not timer.cancelled] == []
