"""Files, processes, FIFOs, routes, rules and the agent's own process, as keepalived's files write them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from haagent.config.model import LinkDelay, Track
from haagent.core.units import SECOND


def test_track_file_and_process_in_instances_and_groups(read) -> None:
    configuration = read("""
        vrrp_track_file F {
            file /run/number
            weight 2 reverse
            init_file -7 overwrite
        }
        vrrp_track_process P {
            process "/usr/sbin/named -u bind"
            param_match initial
            weight 10
            quorum 2
            quorum_max 3
            delay 1.5
            terminate_delay 0.5
        }
        vrrp_instance VI_1 {
            interface eth0
            virtual_router_id 51
            track_file {
                F weight -3 noreverse
            }
            track_process {
                P
            }
            virtual_ipaddress {
                192.0.2.5
            }
        }
    """)
    (file,), (process,) = configuration.files, configuration.processes
    assert (file.path, file.weight, file.reverse, file.initial, file.overwrite) == (
        "/run/number",
        2,
        True,
        -7,
        True,
    )
    assert (process.argv, process.full_command, process.param_match) == (
        ("/usr/sbin/named", "-u", "bind"),
        True,
        "initial",
    )
    assert (process.quorum, process.quorum_max) == (2, 3)
    assert (process.fork_delay, process.terminate_delay) == (3 * SECOND // 2, SECOND // 2)
    (instance,) = configuration.instances
    assert instance.track_files == (Track("F", -3, False),)
    assert instance.track_processes == (Track("P", 10, False),)


def test_a_tracker_without_its_one_line_is_an_error(errors) -> None:
    found = errors("track_file F {\nweight 1\n}\nvrrp_track_process P {\nquorum 1\n}")
    assert [one.partition(": ")[2].partition(" (")[0] for one in found] == [
        "track_file F has no file",
        "vrrp_track_process P has no process",
    ]


def test_an_owner_has_no_weighted_files(instance) -> None:
    file = "track_file F {\nfile /f\n}\ntrack_file G {\nfile /g\n}\n"
    owner = instance("priority 255\ntrack_file {\nF\nG weight 4\n}", before=file)
    assert owner.track_files == (Track("F", 0),)


def test_routes_in_ip_route_s_words(instance) -> None:
    text = """virtual_routes {
        src 192.0.2.5 192.168.1.0/24 via 10.0.0.9 dev eth1 table 7 metric 3 scope site tos 0x10 onlink mtu lock 1400 no_track
        default6 via fe80::1 dev eth0
        10.1.0.0/16 nexthop via 10.0.0.8 weight 3 nexthop dev eth2
        10.2.0.0/16 via 10.0.0.1 or 10.0.0.2
        prohibit 10.3.0.0/16
    }"""
    first, second, third, fourth, fifth = instance(text).routes
    assert (first.destination, first.gateway, first.device) == (
        ip_network("192.168.1.0/24"),
        ip_address("10.0.0.9"),
        "eth1",
    )
    assert (first.source, first.table, first.metric, first.scope, first.tos) == (
        ip_address("192.0.2.5"),
        7,
        3,
        200,
        16,
    )
    assert (first.onlink, first.metrics, first.no_track) == (True, (("mtu", 1400),), True)
    assert (second.destination, second.version) == (None, 6)
    assert third.next_hops == (("10.0.0.8", None, 3), ("", "eth2", 1))
    assert fourth.next_hops == (("10.0.0.1", None, 1), ("10.0.0.2", None, 1))
    assert (fifth.kind, fifth.gateway) == ("prohibit", None)


@pytest.mark.parametrize(
    "line",
    ["10.0.0.0/33 via 10.0.0.1", "10.0.0.0/8", "via 10.0.0.1", "10.0.0.0/8 via 10.0.0.1 bananas", "10.0.0.0/8 via fe80::x",
     "10.0.0.0/8 via", "10.0.0.0/8 dev eth0 table no-such-table", "fd00::/8 dev eth0 src 10.0.0.1"],
)  # fmt: skip
def test_a_route_that_is_not_understood_is_left_out_and_named(instance, line) -> None:
    assert (
        instance(f"virtual_routes {{\n{line}\n10.9.0.0/16 dev eth0\n}}").routes[0].text
        == "10.9.0.0/16 dev eth0"
    )
    assert any("the line is left out" in one for one in instance.warnings)


def test_rules_in_ip_rule_s_words(instance) -> None:
    text = """virtual_rules {
        not from 10.0.0.0/8 to all iif eth1 oif eth2 fwmark 0x10/0xff table main priority 5 sport 80 dport 1-9 ipproto udp
        from all uidrange 5-9 prohibit
    }"""
    first, second = instance(text).rules
    assert (first.inverted, first.from_network, first.to_network) == (True, ip_network("10.0.0.0/8"), None)
    assert (first.input, first.output, first.mark, first.mask) == ("eth1", "eth2", 16, 255)
    assert (first.table, first.priority, first.sport, first.dport, first.ip_protocol) == (
        254,
        5,
        (80, 80),
        (1, 9),
        17,
    )
    assert (second.action, second.uids, second.priority) == ("prohibit", (5, 9), None)
    assert any("it is 16384" in one for one in instance.warnings)


def test_the_agent_s_own_process(read) -> None:
    configuration = read("""
        net_namespace router
        interface_up_down_delays {
            eth0 1.5
            eth1 1 2
        }
        global_defs {
            script_user ha
            notify_fifo /run/all ha
            vrrp_notify_fifo /run/vrrp
            vrrp_notify_fifo_script "/usr/bin/reader -x"
            vrrp_rt_priority 5
            vrrp_priority -3
            vrrp_cpu_affinity 0 1
            umask IXUSR | IRWXG
            startup_script "/usr/bin/begin now"
            json_version 2
            notification_email {
                a@example.org b@example.org
            }
            smtp_server mail.example.org 587
            router_id r1
        }
    """)
    process, mail = configuration.globals.process, configuration.globals.mail
    assert (process.real_time, process.nice, process.processors, process.umask) == (5, -3, (0, 1), 0o170)
    assert process.startup is not None
    assert (process.startup.argv, process.startup.user) == (("/usr/bin/begin", "now"), "ha")
    every, vrrp = configuration.globals.fifos
    assert (every.path, every.user, every.script) == ("/run/all", "ha", None)
    assert vrrp.script is not None
    assert vrrp.script.argv == ("/usr/bin/reader", "-x")
    assert configuration.net_namespace == "router"
    assert configuration.link_delays == (
        LinkDelay("eth0", 3 * SECOND // 2),
        LinkDelay("eth1", SECOND, 2 * SECOND),
    )
    assert mail is not None
    assert (mail.server, mail.port, mail.recipients, mail.router) == (
        "mail.example.org",
        587,
        ("a@example.org", "b@example.org"),
        "r1",
    )


def test_what_decides_nothing_is_a_warning_and_has_no_effect(read) -> None:
    configuration = read("global_defs {\nvrrp_rt_priority 27x\numask bananas\n}")
    assert configuration.globals.process.real_time == 0
    assert sum("it has no effect" in one for one in configuration.warnings) == 2
