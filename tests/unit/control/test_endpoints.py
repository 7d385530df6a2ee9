"""What is said over HTTP and to agent-checks, and that nobody hears "primary" while the kernel passes nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from haagent.control import metrics
from haagent.control.agent_check import line
from haagent.control.document import ArbiterStatus, TrackerStatus
from haagent.control.endpoints import respond
from haagent.control.view import View
from haagent.core.units import SECOND
from tests.unit.control.views import NOBODY, NOW, instance, view

MASTER, BACKUP, FAULT = instance(), instance(state="BACKUP"), instance(state="FAULT")
OLD = 7 * SECOND  # older than a living agent lets its status become
BOTH = (instance("web_a", "MASTER", 3), instance("web_b", "BACKUP", 5))
GROUP = (instance("v4", "MASTER", 3, group="G"), instance("v6", "MASTER", 3, group="G"))


@pytest.mark.parametrize(
    ("target", "at", "status"),
    [
        ("/primary", view(MASTER), 200),
        ("/master", view(MASTER), 200),
        ("/leader/web", view(MASTER), 200),
        ("/primary?x=1", view(MASTER), 200),
        ("/primary/w%65b", view(MASTER), 200),
        ("/primary", view(BACKUP), 503),
        ("/primary", view(MASTER, opened={}), 503),  # the agent says MASTER, the kernel does not
        ("/primary", view(MASTER, deadline=NOW), 503),  # open, and its time is over
        ("/primary", view(MASTER, opened={"other": 7}), 503),
        ("/primary", view(BACKUP, opened={"web": 7}), 503),  # on its way up: not yet
        ("/primary", view(MASTER, age=OLD), 200),  # frozen, and the kernel still passes: that is the truth
        ("/primary", view(MASTER, age=OLD, deadline=NOW - 1), 503),
        ("/primary", view(), 503),
        ("/primary", NOBODY, 503),
        ("/primary/api", view(MASTER), 404),
        ("/primary/web/x", view(MASTER), 404),
        ("/backup", view(BACKUP), 200),
        ("/replica/web", view(BACKUP), 200),
        ("/backup", view(BACKUP, age=OLD), 503),
        ("/backup", view(MASTER), 503),
        ("/primary", view(*BOTH), 503),  # every instance is meant
        ("/primary/web_a", view(*BOTH), 200),
        ("/backup/web_b", view(*BOTH), 200),
        ("/primary/G", view(*GROUP), 200),
        ("/primary/G", view(GROUP[0], instance("v6", "FAULT", 3, group="G")), 503),
        ("/liveness", view(FAULT), 200),
        ("/liveness", view(FAULT, age=OLD), 503),
        ("/liveness", NOBODY, 503),
        ("/health", view(BACKUP), 200),
        ("/health", view(*BOTH[:1], FAULT), 503),
        ("/readiness", view(MASTER), 200),
        ("/readiness", view(instance(state="INIT")), 503),
        ("/readiness", view(MASTER, paused=True), 503),
        ("/readiness", view(MASTER, arbiter=ArbiterStatus("etcd", "unavailable")), 503),
        ("/readiness", view(MASTER, arbiter=ArbiterStatus("none", "plain VRRP")), 200),
        ("/status", view(MASTER), 200),
        ("/status", view(MASTER, age=OLD), 503),
        ("/metrics", NOBODY, 200),
        ("/", NOBODY, 200),
        ("", view(MASTER), 200),
        ("/etc/passwd", view(MASTER), 404),
        ("/../primary", view(MASTER), 404),
        ("/status/x", view(MASTER), 404),
        ("*", view(MASTER), 404),
    ],
)  # fmt: skip
def test_the_status_of_every_answer(target: str, at: View, status: int) -> None:
    assert respond(target, at).status == status


def test_the_epoch_is_the_kernels_and_only_a_primary_has_one() -> None:
    assert dict(respond("/primary", view(MASTER, opened={"web": 9})).headers) == {"X-HA-Epoch": "9"}
    assert (
        json.loads(respond("/primary", view(MASTER, opened={"web": 9})).body)["instances"]["web"]["epoch"]
        == 9
    )
    assert respond("/primary", view(MASTER, opened={})).headers == ()
    assert respond("/primary", view(*BOTH)).headers == ()
    assert dict(respond("/primary/G", view(*GROUP)).headers) == {"X-HA-Epoch": "3"}


def test_a_master_whose_gate_is_closed_is_not_called_master() -> None:
    body = json.loads(respond("/status", view(MASTER, opened={})).body)
    assert body["now"]["master"] == []
    assert body["now"]["passing"] == []
    assert body["status"]["instances"][0]["state"] == "MASTER"  # its own word, beside the truth
    assert "gate closed" in respond("/", view(MASTER, opened={})).body
    assert json.loads(respond("/primary", view(MASTER, opened={})).body)["instances"]["web"]["state"] == (
        "MASTER, gate closed"
    )


@pytest.mark.parametrize(
    ("at", "subject", "expected"),
    [
        (view(MASTER), "", "ready up 100%\n"),
        (view(*BOTH), "", "ready up 50%\n"),
        (view(*BOTH), "web_b", "drain up\n"),
        (view(*BOTH), "web_a", "ready up 100%\n"),
        (view(BACKUP), "", "drain up\n"),
        (view(FAULT), "", "down #web is FAULT\n"),
        (view(MASTER, opened={}), "", "down #web is MASTER, gate closed\n"),
        (view(BACKUP, age=OLD), "", "down #haagent does not run\n"),
        (view(MASTER, age=OLD), "", "ready up 100%\n"),
        (view(MASTER, age=OLD, deadline=NOW), "", "down #haagent does not run\n"),
        (view(MASTER), "gone", "down #nothing to keep available\n"),
        (NOBODY, "", "down #haagent does not run\n"),
    ],
)
def test_the_line_of_the_agent_check(at: View, subject: str, expected: str) -> None:
    assert line(at, subject) == expected


def samples(at: View) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the metrics as a parser that is not ours reads them."""
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(respond("/metrics", at).body)
        for one in family.samples
    }


def test_the_metrics_are_what_prometheus_reads() -> None:
    found = samples(view(*BOTH, opened={"web_a": 1_234_567_890_123}))
    assert found["haagent_instance_master", (("vrrp_instance", "web_a"),)] == 1
    assert found["haagent_instance_master", (("vrrp_instance", "web_b"),)] == 0
    assert found["haagent_instance_epoch", (("vrrp_instance", "web_a"),)] == 1_234_567_890_123
    assert found["haagent_instance_state", (("state", "BACKUP"), ("vrrp_instance", "web_b"))] == 1
    assert found["haagent_gate_open", (("claim", "web_a"),)] == 1
    assert found["haagent_gate_seconds_left", ()] == 1
    assert found["haagent_arbiter_latency_seconds", (("kind", "etcd"), ("which", "worst"))] == 0.009
    assert found["haagent_tracker_up", (("kind", "haproxy"), ("tracker", "haproxy web"))] == 0
    assert found["haagent_peer_silence_seconds", (("peer", "web-b"),)] == 1
    assert samples(view(MASTER, opened={}))["haagent_instance_master", (("vrrp_instance", "web"),)] == 0
    assert samples(NOBODY) == {("haagent_up", ()): 0}


@pytest.mark.parametrize(
    ("at", "reachable", "silence"),
    [
        (view(BACKUP, arbiter=ArbiterStatus("etcd", "idle", answered_boot_ns=NOW - 3 * SECOND)), 1, 3),
        (view(MASTER, arbiter=ArbiterStatus("etcd", "live", answered_boot_ns=NOW - 40 * SECOND, error="x")), 0, 40),
        (view(BACKUP, arbiter=ArbiterStatus("etcd", "idle", error="not opened yet")), 0, None),
        (view(BACKUP, age=OLD, arbiter=ArbiterStatus("etcd", "idle", answered_boot_ns=NOW - OLD)), 0, 7),
        (view(MASTER, arbiter=ArbiterStatus("none", "plain VRRP")), None, None),
    ],
)  # fmt: skip
def test_an_arbiter_that_is_away_is_seen_although_failsafe_keeps_the_session_alive(
    at: View, reachable: int | None, silence: int | None
) -> None:
    found = {name: value for (name, _), value in samples(at).items()}
    assert found.get("haagent_arbiter_reachable") == reachable
    assert found.get("haagent_arbiter_silence_seconds") == silence


def test_no_label_is_one_of_prometheuss_own() -> None:
    assert not {key for _, labels in samples(view(*BOTH)) for key, _ in labels} & {"instance", "job"}


def test_every_metric_is_on_the_page() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "http.md").read_text()
    named = set(re.findall(r"`(haagent_\w+|\.\.\._\w+)`", page))
    named |= {f"haagent_instance{one.removeprefix('...')}" for one in named if one.startswith("...")}
    assert metrics._HELP.keys() == {one for one in named if not one.startswith("...")}


def test_a_label_cannot_break_out_of_its_line() -> None:
    name = 'a"b\\c\nhaagent_up 1'
    found = samples(view(instance(name, "BACKUP")))
    assert found["haagent_instance_master", (("vrrp_instance", name),)] == 0
    assert found["haagent_up", ()] == 1


def test_the_page_escapes_what_comes_from_outside_and_loads_nothing() -> None:
    evil = "<script>alert(1)</script>"
    at = view(
        instance(f"i{evil}", reason=evil),
        warnings=(evil,),
        trackers=(TrackerStatus(f"haproxy {evil}", "haproxy", False, detail=evil),),
        arbiter=ArbiterStatus("etcd", evil, (evil,), evil, error=evil),
    )
    answer = respond("/", at)
    assert "<script" not in answer.body
    assert answer.body.count("&lt;script&gt;") >= 8
    assert not any(
        word in answer.body for word in ("http://", "https://", "src=", "href=", "url(", "@import")
    )
    assert "default-src 'none'" in dict(answer.headers)["Content-Security-Policy"]


def test_the_page_of_a_silent_agent_says_how_old_its_word_is() -> None:
    body = respond("/", view(MASTER, age=20 * SECOND)).body
    assert "does not answer: its last word is 20 s old" in body
    assert "haagent does not run here" in respond("/", NOBODY).body
