"""Scripts, notification, groups, clashes, and haagent's own blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from haagent.config.load import load
from haagent.config.tracking_model import Track
from haagent.core.units import MILLISECOND, SECOND

SITE = """
global_defs {
    router_id node-a
    script_user ha hagroup
    enable_script_security
}
vrrp_script web {
    script "/usr/local/bin/check-web --port 80"
    interval 3      # seconds
    timeout 1
    fall 2          ! in a row
    rise 4
    weight -20
}
vrrp_script plain {
    script /usr/local/bin/check-plain
}
vrrp_instance front {
    state BACKUP
    interface eth0
    virtual_router_id 60
    priority 110
    advert_int 1
    virtual_ipaddress {
        192.0.2.10/24
    }
    track_script {
        web
        plain weight 5
    }
    track_interface {
        eth0
        eth1 weight -10
    }
    notify /usr/local/bin/changed
    notify_master "/usr/local/bin/changed up 'a b'"
    notify_backup "/usr/local/bin/changed down" root
    notify_fault /usr/local/bin/fault ha ha
}
"""


def test_notification_and_tracking_as_the_manuals_show_it(read) -> None:
    """The structure of Oracle Linux's manual, section 17.11: scripts, tracking, notify in quoted and plain form."""
    configuration = read(SITE)
    web, plain = configuration.scripts
    assert web.command.argv == ("/usr/local/bin/check-web", "--port", "80")
    assert (web.interval, web.timeout, web.fall, web.rise, web.weight) == (3 * SECOND, SECOND, 2, 4, -20)
    assert (plain.interval, plain.timeout, plain.fall, plain.rise, plain.weight) == (SECOND, SECOND, 1, 1, 0)
    (front,) = configuration.instances
    assert front.track_scripts == (Track("web", -20), Track("plain", 5))
    assert front.track_interfaces == (Track("eth1", -10),)
    notify = front.notify
    assert notify.generic is not None
    assert notify.generic.argv == ("/usr/local/bin/changed",)
    assert notify.master is not None
    assert notify.master.argv == ("/usr/local/bin/changed", "up", "a b")
    assert (notify.master.user, notify.master.group) == ("ha", "hagroup")
    assert notify.backup is not None
    assert notify.backup.argv == ("/usr/local/bin/changed", "down")
    assert (notify.backup.user, notify.backup.group) == ("root", None)
    assert notify.fault is not None
    assert (notify.fault.argv, notify.fault.user, notify.fault.group) == (
        ("/usr/local/bin/fault",),
        "ha",
        "ha",
    )
    assert not configuration.warnings
    assert any("own interface is tracked anyway" in note for note in configuration.notes)


def test_a_script_may_be_defined_after_its_use(read) -> None:
    before, _, script = SITE.partition("vrrp_script plain")
    block, _, after = script.partition("}\n")
    assert read(before + after + "vrrp_script plain" + block + "}\n").instances == read(SITE).instances


def test_tracking_an_undefined_script_is_an_error(errors) -> None:
    found = errors(SITE.replace("        web\n", "        wbe\n"))
    assert found == [
        "c.conf:28:9: track_script names 'wbe', and no vrrp_script defines it (defined are: plain, web)"
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight -20", "weight -254", "weight is '-254'"),
        ("plain weight 5", "plain wieght 5", "'wieght' after plain"),
        ("plain weight 5", "plain weight 5 backwards", "'backwards' after weight"),
        ("    script /usr/local/bin/check-plain\n", "", "vrrp_script plain has no script"),
        ('"/usr/local/bin/check-web --port 80"', '"/x \'"', "is never closed"),
        ("vrrp_script plain", "vrrp_script web", "vrrp_script web is defined again"),
    ],
)
def test_a_tracker_that_cannot_work_is_an_error(errors, old: str, new: str, message: str) -> None:
    assert any(message in text for text in errors(SITE.replace(old, new)))


def test_a_failing_weight_and_nopreempt_is_a_warning(read) -> None:
    warnings = read(SITE.replace("priority 110", "priority 110\n    nopreempt")).warnings
    assert any("nopreempt makes the weight of web useless" in text for text in warnings)


def test_an_owner_has_no_weighted_scripts(read) -> None:
    configuration = read(SITE.replace("priority 110", "priority 255"))
    assert configuration.instances[0].track_scripts == ()
    assert configuration.instances[0].track_interfaces == ()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('notify "/bin/true && /bin/false"', "&& in notify is handed to /bin/true as an argument"),
        ('notify "/bin/true ${HOME}"', "nothing replaces the $"),
        ("notify /bin/test 1 -eq 1", "runs /bin/test alone"),
    ],
)
def test_shell_syntax_is_a_warning(read, line: str, text: str) -> None:
    configuration = read(SITE.replace("notify /usr/local/bin/changed", line))
    assert any(text in warning for warning in configuration.warnings)


def test_a_shell_may_have_its_syntax(read) -> None:
    assert not read(SITE.replace("notify /usr/local/bin/changed", "notify \"/bin/sh -c 'a && b'\"")).warnings


def test_a_redirection_is_tried_by_a_shell(read) -> None:
    configuration = read(SITE.replace("/usr/local/bin/check-plain", '"</proc/self/stat"'))
    assert configuration.scripts[1].command.argv == ("/bin/sh", "-c", "</proc/self/stat")


GROUPED = """
vrrp_script s {
    script /bin/true
    weight 5
}
vrrp_sync_group G {
    group { A B }
    notify_master /usr/local/bin/group
}
vrrp_instance A {
    interface eth0
    virtual_router_id 1
    virtual_ipaddress { 192.0.2.1 }
    track_script { s }
    track_interface { eth2 weight 5 }
}
vrrp_instance B {
    interface eth1
    virtual_router_id 1
    virtual_ipaddress { 192.0.2.2 }
}
"""


def test_a_group_takes_the_weights_of_its_members(read) -> None:
    configuration = read(GROUPED)
    (group,) = configuration.groups
    assert group.members == ("A", "B")
    assert group.notify.master is not None
    assert configuration.instances[0].track_scripts == ()
    assert configuration.instances[0].track_interfaces == (Track("eth2", 0),)
    assert len(configuration.warnings) == 2
    allowed = read(GROUPED.replace("group { A B }", "group { A B }\nsync_group_tracking_weight"))
    assert allowed.instances[0].track_scripts == (Track("s", 5),)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{ A B }", "{ A C }", "names 'C', and no vrrp_instance defines it"),
        ("group { A B }", "group { }", "has no members"),
        ("vrrp_instance B", "vrrp_sync_group H {\ngroup { A B }\n}\nvrrp_instance B", "A is in G and in H"),
        ("vrrp_instance B", "vrrp_instance A", "vrrp_instance A is defined again"),
        ("interface eth1", "interface eth0", "virtual_router_id 1 is used by A on eth0 already"),
    ],
)
def test_blocks_that_contradict_each_other(errors, old: str, new: str, message: str) -> None:
    assert any(message in text for text in errors(GROUPED.replace(old, new)))


def test_one_vrid_twice_is_allowed_for_two_families_and_for_different_groups(read) -> None:
    text = GROUPED.replace("interface eth1", "interface eth0")
    assert len(read(text.replace("192.0.2.2", "2001:db8::2")).instances) == 2
    assert len(read(text.replace("{ 192.0.2.2 }", "{ 192.0.2.2 }\nmcast_dst_ip 224.0.0.99")).instances) == 2


def test_all_errors_are_reported_at_once(errors) -> None:
    found = errors(
        "vrrp_instance A {\npriority 300\nvirtual_router_id 0\nstate\n}\nfoo {\n}\narbiter etcd {\n}\n"
    )
    assert len(found) >= 6
    assert [int(text.split(":")[1]) for text in found] == sorted(int(text.split(":")[1]) for text in found)
    assert {text.split(":")[1] for text in found} >= {"1", "2", "3", "4", "6", "8"}


def test_load_balancing_is_skipped_with_one_note(read) -> None:
    lvs = "virtual_server 10.0.0.1 80 {\nreal_server 10.0.0.2 80 {\nTCP_CHECK {\n}\n}\n}\nvirtual_server_group g {\n}\n"
    configuration = read(lvs + GROUPED)
    assert [note for note in configuration.notes if "LVS" in note] == [
        "c.conf:1:1: load balancing (LVS) belongs to keepalived: these lines and blocks are skipped"
    ]


@pytest.mark.parametrize(
    ("line", "form"), [("", "auto"), *((f"log_format {one}", one) for one in ("auto", "human", "json"))]
)
def test_the_form_of_the_log_is_automatic_unless_one_is_named(read, line: str, form: str) -> None:
    assert read(f"haagent {{\n {line}\n}}\n").daemon.log_format == form


def test_haagents_own_blocks(read, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("0123456789abcdef\n")
    (tmp_path / "key").chmod(0o600)
    configuration = read(
        """
        haagent {
            node a
            gate required
            control_socket /run/haagent/a.sock
            log_level debug
            log_format json
        }
        peers {
            key_file key
            listen 10.0.0.1
            node a 10.0.0.1
            node b 10.0.0.2 2001:db8::2
        }
        arbiter etcd {
            endpoints 10.0.0.1:2379 [2001:db8::1]:2379
            domain site-1
            lease 2s
            renew 500ms
            guard 20ms
        }
        """
    )
    daemon, peers, arbiter = configuration.daemon, configuration.peers, configuration.arbiter
    assert (daemon.node, daemon.gate, daemon.log_level, daemon.log_format) == (
        "a",
        "required",
        "debug",
        "json",
    )
    assert peers is not None
    assert [(node.node, node.addresses) for node in peers.nodes] == [("b", ("10.0.0.2", "2001:db8::2"))]
    assert (peers.port, peers.key, peers.listen) == (5405, b"0123456789abcdef", ("10.0.0.1",))
    assert "0123456789" not in repr(configuration)
    assert arbiter is not None
    assert (arbiter.kind, arbiter.endpoints, arbiter.domain) == (
        "etcd",
        ("10.0.0.1:2379", "[2001:db8::1]:2379"),
        "site-1",
    )
    assert (arbiter.lease, arbiter.renew, arbiter.guard) == (2 * SECOND, 500 * MILLISECOND, 20 * MILLISECOND)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("peers {\nnode b 10.0.0.2\n}", "peers has no key_file"),
        ("peers {\nkey_file missing\nnode b 10.0.0.2\n}", "cannot read key_file 'missing'"),
        ("peers {\nkey_file short\nnode b 10.0.0.2\n}", "at least 16"),
        ("peers {\nkey_file key\n}", "peers names no other node"),
        ("peers {\nkey_file key\nnode b host.example\n}", "address of b is 'host.example'"),
        ("peers {\nkey_file key\nport 0\nnode b 10.0.0.2\n}", "port is '0'"),
        ("peers {\nkey_file key\nnode b 10.0.0.2\nnode c 10.0.0.2\n}", "is an address of b and of c"),
        ("haagent {\nnode a/b\n}", "node is 'a/b'"),
        ("haagent {\ngate open\n}", "gate is 'open'"),
        ("haagent {\ncontrol_socket run.sock\n}", "an absolute path"),
    ],
)
def test_errors_in_haagents_own_blocks(errors, tmp_path: Path, text: str, message: str) -> None:
    for name, content in (("key", "0123456789abcdef"), ("short", "0123")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    assert any(message in found for found in errors(text))


def test_several_files_are_one_configuration(tmp_path: Path) -> None:
    first, second = tmp_path / "keepalived.conf", tmp_path / "haagent.conf"
    first.write_text(GROUPED)
    second.write_text("arbiter none\n")
    configuration = load([first, second], environ={})
    assert configuration.arbiter is not None
    assert (configuration.arbiter.kind, len(configuration.instances)) == ("none", 2)


def test_a_missing_file_is_an_error(errors, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"cannot read .*nothing\.conf: No such file"):
        load([tmp_path / "nothing.conf"], environ={})
