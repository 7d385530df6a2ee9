"""Whose configuration is rehearsed, and what of it is changed: nothing that decides about the election."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from haagent.config.load import load
from haagent.config.messages import ConfigErrors
from haagent.config.writing import write
from haagent.errors import HaagentError
from haagent.lab.namespaces import LabError
from haagent.lab.rehearsal.arbitration import arbitration
from haagent.lab.rehearsal.blueprint import draw_up
from haagent.lab.rehearsal.findings import Findings
from haagent.lab.rehearsal.rewriting import Stubs, own_words, rewrite
from tests.unit.lab.rehearsal_files import ARBITER, PAIR, UNICAST, blueprint, read

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "data" / "keepalived-corpus"
KEPT = (
    "name", "interface", "vrid", "priority", "advert_interval", "addresses", "excluded", "unicast", "source", "version",
    "preempt", "preempt_delay", "routes", "rules", "track_scripts", "track_interfaces", "auth_pass", "initial_state",
)  # fmt: skip


def rewritten(source, tmp_path, *, real=False):
    findings = Findings()
    file = tmp_path / "rewritten.conf"
    file.write_text(write(rewrite(source.statements, Stubs(tmp_path / "stubs", real), findings)))
    return load([file], config_id="nobody"), findings


def test_one_file_with_conditions_is_a_node_for_every_name(tmp_path):
    sources, _ = read(tmp_path, PAIR)
    assert [(s.name, s.configuration.instances[0].priority) for s in sources] == [("a", 150), ("b", 120)]


def test_a_file_per_node_and_one_for_all(tmp_path):
    one, other = PAIR.replace("@a ", "").replace("    @b priority 120\n", ""), PAIR.replace("@b ", "")
    other = other.replace("    @a priority 150\n", "")
    sources, _ = read(tmp_path, one, other, ARBITER)
    assert [s.name for s in sources] == ["a", "b"], "named as the peers block names them"
    assert [s.configuration.instances[0].priority for s in sources] == [150, 120]
    assert all(s.configuration.arbiter.kind == "zookeeper" for s in sources)


def test_the_file_of_one_node_makes_its_unicast_peers(tmp_path):
    sources, findings = read(tmp_path, UNICAST)
    seen = [
        (str(i.source), [str(p) for p in i.unicast.peers], i.priority)
        for s in sources
        for i in s.configuration.instances
    ]
    assert seen == [
        ("10.1.0.2", ["10.1.0.3", "10.1.0.4"], 100),
        ("10.1.0.3", ["10.1.0.2", "10.1.0.4"], 90),
        ("10.1.0.4", ["10.1.0.2", "10.1.0.3"], 80),
    ]
    assert any("2 more nodes" in one.text for one in findings.found)


def test_unicast_without_a_source_gets_one_beside_its_peer(tmp_path):
    sources, _ = read(
        tmp_path, UNICAST.replace("    unicast_src_ip 10.1.0.2\n", "").replace("        10.1.0.4\n", "")
    )
    assert [str(p) for p in sources[1].configuration.instances[0].unicast.peers] == ["10.1.0.4"]
    built = draw_up(sources, Findings())
    assert [card.addresses for machine in built.machines for card in machine.cards] == [
        ("10.1.0.4/24",),
        ("10.1.0.3/24",),
    ]


def test_an_error_names_the_users_own_line(tmp_path):
    with pytest.raises(ConfigErrors, match=r"0\.conf:\d+"):
        read(tmp_path, PAIR.replace("virtual_router_id 51", "virtual_router_id 999"))


@pytest.mark.parametrize("text", ["", "global_defs {\n}\n"])
def test_nothing_to_rehearse_is_said(tmp_path, text):
    with pytest.raises(LabError, match="no vrrp_instance"):
        read(tmp_path, text)


def test_what_decides_stays_and_what_does_not_is_replaced(tmp_path):
    sources, _ = read(tmp_path, PAIR, ARBITER)
    made, findings = rewritten(sources[0], tmp_path)
    was = sources[0].configuration
    assert [getattr(made.instances[0], k) for k in KEPT] == [getattr(was.instances[0], k) for k in KEPT]
    assert made.scripts[0].command.argv == ("/bin/sh", f"{tmp_path}/stubs/check", "check")
    assert (made.scripts[0].interval, made.scripts[0].weight) == (was.scripts[0].interval, -20)
    assert made.instances[0].notify.generic.argv[1] == f"{tmp_path}/stubs/notify"
    assert (made.arbiter, made.peers, made.globals.mail) == (None, None, None)
    said = " ".join(one.text for one in findings.found)
    assert all(word in said for word in ("IPVS", "notify scripts", "no mail", "stand-ins"))


def test_of_the_haagent_block_what_decides_something_stays(tmp_path):
    text = "haagent {\n gate nftables\n control_socket /run/x.sock\n minimum_tenure 30s\n}\n"
    sources, findings = read(tmp_path, PAIR, text)
    file = tmp_path / "own.conf"
    words = own_words(sources[0].statements)
    file.write_text(
        words + "haagent {\n node a\n}\n" + write(rewrite(sources[0].statements, Stubs(tmp_path), findings))
    )
    daemon = load([file], config_id="nobody").daemon
    assert (daemon.gate, daemon.minimum_tenure, daemon.node) == ("nftables", 30 * 10**9, "a")
    assert "control_socket" not in words


def test_interfaces_that_become_plain_wires_are_named(tmp_path):
    _, _, findings = blueprint(tmp_path, PAIR)
    assert any(one.text.startswith("bond0.7: plain wires") for one in findings.found)


def test_real_scripts_stay_as_they_are(tmp_path):
    sources, _ = read(tmp_path, PAIR)
    made, _ = rewritten(sources[0], tmp_path, real=True)
    assert made.scripts[0].command == sources[0].configuration.scripts[0].command
    assert made.instances[0].notify.master.argv == ("/usr/local/bin/tell", "master")


def test_tracked_processes_become_scripts_of_the_same_weight(tmp_path):
    text = PAIR + "vrrp_track_process ha {\n process haproxy\n weight -30\n}\n"
    text = text.replace("    track_script {", "    track_process {\n        ha\n    }\n    track_script {")
    sources, _ = read(tmp_path, text)
    configuration = sources[0].configuration
    assert {one.name: one.weight for one in configuration.scripts} == {"check": -20, "ha": -30}
    assert [one.name for one in configuration.instances[0].track_scripts] == ["ha", "check"]


def test_addresses_of_the_files_come_first_and_nobody_has_one_twice(tmp_path):
    built, decided, _ = blueprint(tmp_path, PAIR, ARBITER)
    a, b = built.machines
    assert (a.cards[0].interface, a.cards[0].addresses) == ("bond0.7", ("192.0.2.31/24",))
    assert "198.51.100.31/24" in a.mgmt
    assert "198.51.100.32/24" in b.mgmt
    assert not any(ip_address(text) in built.mgmt for text in ("198.51.100.31", "192.0.2.100"))
    everybody = [text.partition("/")[0] for m in built.machines for c in m.cards for text in c.addresses]
    everybody += [text.partition("/")[0] for network in built.networks for text in network.client]
    assert len(set(everybody)) == len(everybody)
    assert not {"192.0.2.100", "192.0.2.101"} & set(everybody)
    assert (decided.kinds, decided.domain) == (("zookeeper",), "shop")
    assert "lease 2s" in decided.words


def test_a_file_without_an_arbiter_gets_one_and_peers(tmp_path):
    sources, findings = read(tmp_path, PAIR)
    decided = arbitration(sources, None, findings)
    assert (decided.kinds, decided.make_peers) == (("etcd",), True)
    assert findings.in_order()[0].kind == "added"
    assert arbitration(sources, "none", Findings()).kinds == ()
    assert not arbitration(sources, None, Findings(), strict=True).make_peers


def test_an_arbiter_of_another_kind_is_said_to_be_replaced(tmp_path):
    sources, findings = read(tmp_path, PAIR, "arbiter abacus {\n endpoints 10.9.0.1:1\n}\n")
    assert arbitration(sources, None, findings).kinds == ("etcd",)
    assert any("no abacus" in one.text for one in findings.found)


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus of real configurations is not here")
def test_every_usable_file_of_the_corpus_keeps_its_election(tmp_path):
    played = 0
    for path in sorted(CORPUS.glob("*.conf")):
        try:
            sources, findings = read(tmp_path, path.read_bytes().decode(errors="replace"))
            draw_up(sources, findings)
        except HaagentError:
            continue  # said, not crashed
        for source in sources:
            made, _ = rewritten(source, tmp_path)
            pairs = zip(source.configuration.instances, made.instances, strict=True)
            assert all(getattr(x, k) == getattr(y, k) for x, y in pairs for k in KEPT), path.name
        played += 1
    assert played > 80
