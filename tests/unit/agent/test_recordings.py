"""Recordings of the real core: replayed they decide the same, and what several of them say of the promise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from haagent.agent.parameters import Run, node_parameters
from haagent.agent.recordings import Reconfigured, RecordingError, about, codec, parameters_of
from haagent.agent.replay import obstacle, other_parameters, recordings, replay
from haagent.agent.verify import Verdict, verify
from haagent.core.events import Shutdown, SwitchoverRequested
from haagent.effects.recording import Recording
from tests.unit.agent.worlds import RECORDERS, configuration, finish, join, peers
from tests.unit.core.pair import World

TRACKED = "vrrp_script chk {\nscript /bin/true\n}\n"


def lived(directory: Path, *, crash: bool = False, **words: str) -> tuple[Path, Path]:
    """Return the recordings of two nodes over an election, a switchover and the way back (or a crash)."""
    world = World()
    files = directory / "a.jsonl", directory / "b.jsonl"
    a = join(world, "a", configuration(directory, priority=150, **words), record=files[0])
    b = join(world, "b", configuration(directory, priority=100, **words), record=files[1])
    world.run(12)
    if crash:
        world.kill("a")
    else:
        world.do("a", SwitchoverRequested("VI_1", "b"))
    world.run(12)
    for name in tuple(world.nodes):
        world.do(name, Shutdown())
        world.run(2)
    finish(a, b)
    return files


def doctored(file: Path, change) -> Path:
    """Return a copy in which ``change`` has edited every line's object (None: the line is dropped)."""
    copy = file.with_suffix(".doctored")
    lines = [change(json.loads(line)) for line in file.read_text().splitlines()]
    copy.write_text("".join(json.dumps(line) + "\n" for line in lines if line is not None))
    return copy


def judged(*files: Path) -> Verdict:
    return verify([recording for file in files for recording in recordings(file)])


def actions_of(line: dict, name: str) -> list[dict]:
    return [action for action in line.get("a", []) if action["$"] == name]


class TestDescription:
    def test_the_parameters_come_back_exactly(self, tmp_path) -> None:
        """Also what a full configuration adds; a type the codec does not know would keep the agent from starting."""
        more = TRACKED + peers(tmp_path, "a", "b") + "haagent {\nminimum_tenure 7s\n}\n"
        config = configuration(tmp_path, more=more)
        parameters = node_parameters(config, Run("a", "1", "h", resumed=True), (("VI_1", 3),))
        description = json.loads(json.dumps(about(Run("a", "1", "h"), parameters)))
        assert parameters_of(description) == parameters
        assert parameters.tenure == 7_000_000_000
        reloaded = Reconfigured(parameters)
        assert codec().decode(json.loads(json.dumps(codec().encode(reloaded)))) == reloaded

    @pytest.mark.parametrize(
        "damage", [{}, {"parameters": {"$": "Startup"}}, {"parameters": {"$": "Nothing"}}]
    )
    def test_a_damaged_description_is_refused(self, damage) -> None:
        with pytest.raises(RecordingError, match="parameters"):
            parameters_of(damage)


class TestReplay:
    @pytest.mark.parametrize("words", [{}, {"arbiter": "none"}, {"version": 2}], ids=["etcd", "plain", "v2"])
    def test_the_same_core_decides_the_same(self, tmp_path, words) -> None:
        for file in lived(tmp_path, **words):
            (recording,) = recordings(file)
            decisions = list(replay(recording))
            assert len(decisions) > 50
            assert all(decision.same for decision in decisions)
            assert any(decision.replayed for decision in decisions)

    def test_promises_are_replayed_too(self, tmp_path) -> None:
        for file in lived(tmp_path, more=peers(tmp_path, "a", "b")):
            (recording,) = recordings(file)
            assert any(type(entry.event).__name__ == "PeerHeard" for entry in recording.entries)
            assert all(decision.same for decision in replay(recording))

    def test_a_changed_decision_is_found(self, tmp_path) -> None:
        file, _ = lived(tmp_path)

        def change(line: dict) -> dict:
            for action in actions_of(line, "OpenGate"):
                action["epoch"] += 1
            return line

        (recording,) = recordings(doctored(file, change))
        first = next(decision for decision in replay(recording) if not decision.same)
        assert [a.epoch for a in first.recorded if type(a).__name__ == "OpenGate"] == [2]
        assert [a.epoch for a in first.replayed if type(a).__name__ == "OpenGate"] == [1]

    def test_a_changed_event_changes_what_follows(self, tmp_path) -> None:
        file, _ = lived(tmp_path)
        (recording,) = recordings(
            doctored(file, lambda line: None if "SwitchoverRequested" in str(line.get("e")) else line)
        )
        missing = [decision for decision in replay(recording) if decision.missing]
        assert [decision.missing for decision in missing] == [1]
        assert not all(decision.same for decision in replay(recording))

    def test_a_reload_is_part_of_it(self, tmp_path) -> None:
        world, file = World(), tmp_path / "a.jsonl"
        node = join(world, "a", configuration(tmp_path, priority=150), record=file)
        world.run(6)
        session = node.parameters.session
        changed = node_parameters(
            configuration(tmp_path, priority=90), Run("a", session.incarnation, session.host), ()
        )
        done = node.reconfigure(changed, world.now)
        RECORDERS[id(node)].record(Reconfigured(changed), world.now, done)
        for action in done:
            world._perform("a", node, action)
        world.run(5)
        finish(node)
        (recording,) = recordings(file)
        decisions = list(replay(recording))
        assert all(decision.same for decision in decisions)
        assert any(isinstance(decision.event, Reconfigured) for decision in decisions)

    def test_what_if_the_priority_had_been_another(self, tmp_path) -> None:
        _, file = lived(tmp_path)
        (recording,) = recordings(file)
        same = other_parameters(recording, configuration(tmp_path, priority=100))
        assert all(decision.same for decision in replay(recording, same))
        other = other_parameters(recording, configuration(tmp_path, priority=200))
        assert not all(decision.same for decision in replay(recording, other))

    def test_a_run_without_its_beginning_is_not_replayed(self, tmp_path) -> None:
        file, _ = lived(tmp_path)
        cut = doctored(file, lambda line: None if line.get("n", 99) < 20 else line)
        (recording,) = recordings(cut)
        assert obstacle(recording) == (
            "its first 19 events are gone (files are rotated), and with them the state it was in"
        )
        with pytest.raises(RecordingError, match="rotated"):
            list(replay(recording))

    def test_what_is_no_recording(self, tmp_path) -> None:
        (tmp_path / "x").write_text("nothing\n")
        with pytest.raises(RecordingError, match="not a recording"):
            recordings(tmp_path / "x")
        with pytest.raises(RecordingError, match="No such file"):
            recordings(tmp_path / "y")


class TestVerify:
    @pytest.mark.parametrize("crash", [False, True])
    def test_an_honest_pair(self, tmp_path, crash) -> None:
        verdict = judged(*lived(tmp_path, crash=crash))
        assert verdict.violations == ()
        assert f"that {1 if crash else 4} pairs of intervals" in verdict.checked[-1]
        assert any("without a clean stop" in text for text in verdict.unchecked) is crash

    def test_a_gate_that_did_not_close(self, tmp_path) -> None:
        """Its deadline still lies ahead when the other one opens."""
        a, b = lived(tmp_path)

        def change(line: dict) -> dict:
            line["a"] = [action for action in line.get("a", []) if action["$"] != "CloseGate"]
            return line

        verdict = judged(doctored(a, change), b)
        assert len([text for text in verdict.violations if "both had their gate open for VI_1" in text]) >= 1
        assert "a (epoch 1) and b (epoch 2)" in verdict.violations[0]

    def test_a_deadline_that_was_too_late(self, tmp_path) -> None:
        a, b = lived(tmp_path, crash=True)

        def change(line: dict) -> dict:
            for action in actions_of(line, "ExtendGate"):
                action["until"] += 1_000_000_000 if action["until"] else 0
            return line

        assert judged(a, b).violations == ()
        assert any("both had their gate open" in text for text in judged(doctored(a, change), b).violations)

    def test_other_clocks_are_not_compared(self, tmp_path) -> None:
        a, b = lived(tmp_path)
        runs = [*recordings(a), *recordings(b)]
        moved = [runs[0], replace(runs[1], about={**runs[1].about, "clock": "another"})]
        verdict = verify(moved)
        assert verdict.violations == ()
        assert any(
            "a and b passed traffic at once: their clocks cannot be compared" in t for t in verdict.unchecked
        )
        assert any("that 0 pairs" in text for text in verdict.checked)

    def test_one_epoch_with_two_holders(self, tmp_path) -> None:
        a, b = lived(tmp_path)

        def change(line: dict) -> dict:
            for action in actions_of(line, "OpenGate"):
                action["epoch"] = 1
            return line

        violations = judged(a, doctored(b, change)).violations
        assert any("VI_1 epoch 1 has two holders: a and b" in text for text in violations)
        assert any("which no answer of the arbiter showed as its own" in text for text in violations)

    def test_epochs_that_go_back(self, tmp_path) -> None:
        a, b = lived(tmp_path)
        (run,) = recordings(a)
        later = Recording({**run.about, "run": "later"}, run.entries, 0)
        third = [run, *recordings(b), later]
        assert any("epoch 1 after it had epoch" in text for text in verify(third).violations)

    def test_a_version_that_was_replaced_twice(self, tmp_path) -> None:
        """Two nodes both won a swap on the same record: no linearizable store does that."""
        a, b = lived(tmp_path)

        def change(line: dict) -> dict:
            for action in actions_of(line, "SwapRegister"):
                if action["name"] == "claims/VI_1" and action["expected"]:
                    action["expected"]["version"] = "1"
            return line

        violations = judged(doctored(a, change), doctored(b, change)).violations
        assert any("claims/VI_1 version 1 was replaced twice" in text for text in violations)

    def test_plain_vrrp_has_no_epochs_to_check_and_preemption_makes_two_masters(self, tmp_path) -> None:
        """The better node is Master before the other one has heard of it: that is how VRRP preempts."""
        verdict = judged(*lived(tmp_path, arbiter="none"))
        assert len(verdict.violations) == 1
        assert "both had their gate open" in verdict.violations[0]
        assert sum("plain VRRP" in text for text in verdict.unchecked) == 2
