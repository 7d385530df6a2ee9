"""Files, processes, FIFOs, routes, rules and the agent's own process, as keepalived's files write them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from haagent.config.model import AnnouncePace, LinkDelay
from haagent.config.network_model import NextHop
from haagent.config.tracking_model import Track
from haagent.core.units import MILLISECOND, SECOND


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
    assert (first.onlink, first.metrics, first.locked, first.no_track) == (
        True,
        (("mtu", 1400),),
        ("mtu",),
        True,
    )
    assert (second.destination, second.version) == (None, 6)
    assert third.next_hops == (NextHop("10.0.0.8", None, 3), NextHop("", "eth2"))
    assert fourth.next_hops == (NextHop("10.0.0.1"), NextHop("10.0.0.2"))
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


def test_metrics_and_what_else_a_route_may_say(instance) -> None:
    text = """virtual_routes {
        append any via inet 10.0.0.9 rtt 50ms rttvar lock 1s rto_min 7 hoplimit 64 features ecn congctl lock bbr
        10.1.0.0/16 nexthop via inet 10.0.0.8 dev eth1 onlink realms 3 protocol static track_group g
        10.2.0.0/16 dev eth1 realms 2/3
        fd00::/8 dev eth1 pref high
    }"""
    first, second, third = instance(text).routes
    assert (first.destination, first.append) == (None, True)
    assert first.metrics == (
        ("rtt", 400),
        ("rttvar", 4000),
        ("rto_min", 7),
        ("hoplimit", 64),
        ("features", 1),
        ("congctl", "bbr"),
    )
    assert first.locked == ("rttvar", "congctl")
    assert (second.realms, third.preference) == (2 << 16 | 3, 1)
    assert any("'realms' in a nexthop: the line is left out" in one for one in instance.warnings)


def test_a_next_hop_may_be_onlink(instance) -> None:
    text = "virtual_routes {\n10.1.0.0/16 nexthop via inet 10.0.0.8 dev eth1 onlink weight 2\n}"
    assert instance(text).routes[0].next_hops == (NextHop("10.0.0.8", "eth1", 2, True),)


def test_a_track_group_costs_a_word_and_not_the_line(read) -> None:
    configuration = read(
        "static_routes {\n10.1.0.0/16 dev eth0 track_group g\n}\n"
        "static_rules {\nfrom 10.0.0.1 table 5 priority 3 track_group g\n}\n"
    )
    assert (len(configuration.static_routes), len(configuration.static_rules)) == (1, 1)
    (warning,) = (one for one in configuration.warnings if "track_group is not supported" in one)
    assert "track a script" in warning  # what there is instead


def test_rules_of_realms_groups_tunnels_and_vrfs(instance) -> None:
    text = """virtual_rules {
        from 10.0.0.1 realms 7 priority 1
        to 10.0.0.1 table 5 sup_group 2 tunnel-id 9 priority 2 protocol static
        l3mdev priority 3
    }"""
    first, second, third = instance(text).rules
    assert (first.realms, first.table) == (7, 254)
    assert (second.suppress_group, second.tunnel) == (2, 9)
    assert (third.l3mdev, third.table) == (True, None)


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


def test_the_pace_of_announcements(read) -> None:
    configuration = read(
        """
        global_defs {
            vrrp_garp_interval 0.001
            vrrp_gna_interval 0
        }
        garp_group {
            garp_interval 0.5
            interfaces {
                eth0 eth1
                eth2
            }
        }
        garp_group {
            gna_interval 2
            interface eth3
            interfaces {
                eth1
            }
        }
        garp_group {
            interface eth4
        }
        garp_group {
            garp_interval 1
        }
        """
    )
    assert configuration.announce_paces == (
        AnnouncePace(("eth0", "eth1", "eth2"), SECOND // 2, 0),
        AnnouncePace(("eth3",), 0, 2 * SECOND),
        AnnouncePace((), MILLISECOND, 0),
    )
    said = " ".join(configuration.warnings)
    for message in (
        "eth1 is in another garp_group",
        "garp_group has no interval",
        "garp_group names no interface",
    ):
        assert message in said
    assert read("global_defs {\nvrrp_garp_interval 0\nvrrp_gna_interval 0\n}\n").announce_paces == ()


@pytest.mark.parametrize(
    ("top", "name"),
    [
        ("instance one", "/tmp/x.one.data"),
        ("net_namespace red", "/tmp/x.red.data"),
        ("net_namespace red\ninstance one", "/tmp/x.red_one.data"),
        ("", "/tmp/x.data"),
    ],
)
def test_dumps_may_be_called_like_the_instance(read, top: str, name: str) -> None:
    text = f"{top}\nglobal_defs {{\nDATA\nstate_dump_file /tmp/x.data\n}}\n"
    assert read(text.replace("DATA", "data_use_instance")).globals.dumps.data == name
    assert read(text.replace("DATA", "data_use_instance off")).globals.dumps.data == "/tmp/x.data"


def test_a_second_list_of_members_is_left_out(read) -> None:
    instances = "".join(
        f"vrrp_instance {name} {{\ninterface eth0\nvirtual_router_id {vrid}\nvirtual_ipaddress {{\n10.0.0.{vrid}\n}}\n}}\n"
        for vrid, name in enumerate("ABC", 1)
    )
    configuration = read(f"{instances}vrrp_sync_group G {{\ngroup {{\nA B\n}}\ngroup {{\nC\n}}\n}}\n")
    assert configuration.groups[0].members == ("A", "B")
    assert any("a second list of members" in one for one in configuration.warnings)


@pytest.mark.parametrize(("delays", "warned"), [("1.9", False), ("2", True), ("0 2.5", True)])
def test_a_delay_that_outlasts_the_others_patience_is_pointed_out(read, delays: str, warned: bool) -> None:
    configuration = read(
        f"interface_up_down_delays {{\neth0 {delays}\n}}\nvrrp_instance A {{\ninterface eth0\nvirtual_router_id 1\n"
        "virtual_ipaddress {\n10.0.0.1\n}\n}\n"
    )
    assert any("is not shorter than 2 s" in one for one in configuration.warnings) is warned
