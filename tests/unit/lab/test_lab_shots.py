"""A seed is a campaign: the same for ever, within its limits, and using all there is."""

from collections import Counter
from itertools import islice

from haagent.core.units import SECOND
from haagent.lab.nemesis import ON_ARBITER, ON_NODES
from haagent.lab.shots import HOLD, REST, SECONDS, WEIGHTS, Shot, shots


def first(seed, count):
    return list(islice(shots(seed), count))


def test_a_seed_names_one_campaign():
    assert first(7, 200) == first(7, 200)
    assert first(7, 20) != first(8, 20)


def test_a_longer_campaign_begins_like_a_shorter_one():
    assert first(7, 50)[:20] == first(7, 20)


def test_a_seed_of_a_track_record_still_means_the_same():
    """Published seeds must stay repeatable; whoever changes the generator has to change this line and say so."""
    assert [(s.fault, s.role, s.hold // 1_000_000) for s in first(2026, 4)] == [
        ("freeze", "owner", 3921),
        ("reset-arbiter", "owner", 3376),
        ("kill", "owner", 753),
        ("kill", "owner", 3082),
    ]


def test_holds_and_rests_stay_within_their_limits():
    for shot in first(1, 500):
        assert HOLD[0] <= shot.hold <= HOLD[1]
        assert REST[0] <= shot.rest <= REST[1]


def test_the_caller_may_choose_the_hold():
    assert {shot.hold for shot in islice(shots(1, (SECOND, SECOND)), 50)} == {SECOND}


def test_every_fault_comes_up_and_has_somebody_who_injects_it():
    seen = Counter((shot.fault, shot.role) for shot in first(3, 3000))
    assert set(seen) == set(WEIGHTS)
    assert {fault for fault, role in seen if role != "arbiter"} <= set(ON_NODES)
    assert {fault for fault, role in seen if role == "arbiter"} == set(ON_ARBITER)
    assert set(SECONDS) <= set(ON_NODES)


def test_weights_are_obeyed():
    seen = Counter((shot.fault, shot.role) for shot in first(3, 5000))
    share = seen["freeze", "owner"] / 5000
    assert abs(share - WEIGHTS["freeze", "owner"] / sum(WEIGHTS.values())) < 0.02


def test_only_faults_of_the_owner_get_company():
    paired = [shot for shot in first(5, 2000) if shot.second is not None]
    assert 100 < len(paired) < 300
    assert {shot.role for shot in paired} == {"owner"}


def test_a_label_tells_pairs_apart():
    assert Shot(1, "kill", "owner", 0, 1, 1).label == "kill owner"
    assert Shot(1, "kill", "owner", 0, 1, 1, "deaf").label == "kill owner + deaf other"
