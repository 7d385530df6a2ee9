"""What an instance becomes: defaults, rounding, and the combinations that do not do what they say."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from haagent.config.model import Garp, Unicast
from haagent.core.units import CENTISECOND, MILLISECOND, SECOND


def test_the_least_instance_has_keepaliveds_defaults(instance) -> None:
    one = instance()
    assert (one.priority, one.initial_state, one.version, one.family) == (100, "BACKUP", 2, 4)
    assert (one.advert_interval, one.preempt, one.preempt_delay, one.down_timer_adverts) == (
        SECOND,
        True,
        0,
        3,
    )
    assert one.garp == Garp(5, 5 * SECOND, 0, 1, 5 * SECOND, 5)
    assert (one.unicast, one.auth_pass, one.source, one.multicast_group) == (None, None, None, None)
    assert [str(address) for address in one.addresses] == ["10.0.0.5/24"]
    assert one.addresses[0].device == "eth0"
    assert not instance.warnings


def test_master_without_priority_is_the_owner(instance) -> None:
    one = instance("state MASTER")
    assert (one.priority, one.initial_state) == (255, "MASTER")
    assert "state MASTER without a priority means priority 255" in instance.warnings[0]


def test_an_owner_without_state_starts_as_master(instance) -> None:
    assert instance("priority 255").initial_state == "MASTER"


def test_an_unknown_state_is_backup(instance) -> None:
    assert instance("state SLAVE").initial_state == "BACKUP"
    assert "c.conf:5:5: VI_1: state is 'SLAVE'; BACKUP is assumed" in instance.warnings[0]


@pytest.mark.parametrize(
    ("lines", "interval"),
    [
        ("advert_int 2", 2 * SECOND),
        ("advert_int 0.4", SECOND),
        ("advert_int 1.5", 2 * SECOND),
        ("advert_int 1.49", SECOND),
        ("version 3\nadvert_int 0.25", 250 * MILLISECOND),
        ("version 3\nadvert_int 0.015", 2 * CENTISECOND),
        ("version 3\nadvert_int 60", 4095 * CENTISECOND),
    ],
)
def test_the_interval_is_what_the_version_can_carry(instance, lines: str, interval: int) -> None:
    assert instance(lines).advert_interval == interval


def test_nopreempt_with_state_master_is_cleared(instance) -> None:
    one = instance("state MASTER\npriority 150\nnopreempt\npreempt_delay 5")
    assert one.preempt
    assert one.preempt_delay == 0
    assert any("nopreempt does not work with state MASTER" in text for text in instance.warnings)
    assert any("preempt_delay does not work with state MASTER" in text for text in instance.warnings)


def test_nopreempt_and_delay_work_with_state_backup(instance) -> None:
    assert not instance("state BACKUP\nnopreempt").preempt
    assert instance("state BACKUP\npreempt_delay 2.5").preempt_delay == 2500 * MILLISECOND
    assert not instance.warnings


def test_the_family_comes_from_the_first_address(instance) -> None:
    one = instance(address="2001:db8::5/64\n10.0.0.5\n2001:db8::5")
    assert (one.family, one.version) == (6, 3)
    assert [str(address) for address in one.addresses] == ["2001:db8::5/64"]
    assert any("10.0.0.5/32 is not IPv6" in text for text in instance.warnings)
    assert any("2001:db8::5 is given twice" in text for text in instance.warnings)


def test_surplus_addresses_are_excluded(instance) -> None:
    one = instance(address="\n".join(f"10.0.{i // 250}.{i % 250}" for i in range(260)))
    assert (len(one.addresses), len(one.excluded)) == (255, 5)
    six = instance(address="\n".join(f"2001:db8::{i:x}" for i in range(1, 101)))
    assert (len(six.addresses), len(six.excluded)) == (90, 10)


def test_address_options(instance) -> None:
    one = instance(
        address="10.0.0.5/24 dev eth1 label eth1:v scope link brd + no_track\n10.0.0.7 peer 10.0.0.8 noprefixroute\n"
        "10.0.0.9 brd 10.0.0.255"
    )
    first, second, third = one.addresses
    assert (first.device, first.label, first.scope, first.broadcast, first.no_track) == (
        "eth1",
        "eth1:v",
        "link",
        "+",
        True,
    )
    assert (second.peer, second.flags, second.prefix_length) == ("10.0.0.8", ("noprefixroute",), 32)
    assert (third.broadcast, third.flags) == ("10.0.0.255", ())
    six = instance(
        address="2001:db8::5\n2001:db8::6/64 -nodad preferred_lft 30 home mngtmpaddr\n2001:db8::7 preferred_lft forever"
    ).addresses
    assert [(a.nodad, a.preferred_lifetime) for a in six] == [(True, 0), (False, 30), (True, None)]
    assert [a.flags for a in six] == [(), ("home", "mngtmpaddr"), ()]


@pytest.mark.parametrize(
    ("address", "message", "left"),
    [
        ("10.0.0.7/24 peer 10.0.0.8", "an address with a peer has no /LENGTH", {"prefix_length": 32}),
        ("10.0.0.7/24 peer 10.0.0.8/24 brd +", "peer of 10.0.0.7 is left out", {"peer": None, "broadcast": "+"}),
        ("10.0.0.7 peer 10.0.0.8 brd +", "brd of 10.0.0.7 is left out: the address has a peer", {"broadcast": None}),
        ("10.0.0.7 brd +", "brd of 10.0.0.7 is left out: a /32 has no broadcast", {"broadcast": None}),
        ("2001:db8::1 label x", "label of 2001:db8::1 is left out: it is for IPv4", {"label": None}),
        ("2001:db8::1 scope link", "scope of 2001:db8::1 is left out: it is for IPv4", {"scope": None}),
        ("2001:db8::1/128 mngtmpaddr", "mngtmpaddr of 2001:db8::1 is left out: it is for IPv6 with /64", {"flags": ()}),
        ("10.0.0.7 autojoin", "autojoin of 10.0.0.7 is left out: it is for a multicast address", {"flags": ()}),
    ],
)  # fmt: skip
def test_an_option_that_does_not_fit_is_left_out_and_named(
    instance, address: str, message: str, left: dict[str, object]
) -> None:
    one = instance(address=address).addresses[0]
    assert {name: getattr(one, name) for name in left} == left
    assert any(message in warning for warning in instance.warnings)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("10.0.0.300", "address is '10.0.0.300'"),
        ("xxx.xxx.xxx.xxx", "address is 'xxx.xxx.xxx.xxx'"),
        ("10.0.0.5/255.255.255.0", "ADDRESS/LENGTH"),
        ("10.0.0.5 10.0.0.6", "'10.0.0.6' after 10.0.0.5"),
        ("10.0.0.5 dev", "dev is missing its value"),
        ("10.0.0.5 label a234567890123456", "too long"),
        ("10.0.0.5 scope galaxy", "scope is 'galaxy'"),
        ("10.0.0.5 peer 2001:db8::1", "an IPv4 address"),
        ("10.0.0.5/24 brd 2001:db8::1", "an IPv4 address"),
        ("2001:db8::1 brd +", "brd is for IPv4"),
        ("10.0.0.5 {\n}", "unexpected block"),
    ],
)
def test_an_address_that_cannot_be_read_is_an_error(errors, address: str, message: str) -> None:
    text = f"vrrp_instance VI_1 {{\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress {{\n{address}\n}}\n}}\n"
    assert message in errors(text)[0]


def test_the_ttl_of_a_peer_may_be_limited(instance, errors) -> None:
    one = instance(
        "check_unicast_src off\nunicast_peer {\n10.0.0.2 min_ttl 250\n10.0.0.3 max_ttl 9 min_ttl 3\n10.0.0.4\n}"
    )
    assert one.unicast.hops == ((ip_address("10.0.0.2"), 250, 255), (ip_address("10.0.0.3"), 3, 9))
    assert one.unicast.check_source
    text = "vrrp_instance V {{\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress {{\n10.0.0.5\n}}\nunicast_peer {{\n10.0.0.2 {}\n}}\n}}"
    assert "no advert passes" in errors(text.format("min_ttl 9 max_ttl 3"))[0]
    assert "min_ttl is missing its value" in errors(text.format("min_ttl"))[0]
    assert "max_ttl is '300'" in errors(text.format("max_ttl 300"))[0]


@pytest.mark.parametrize(
    ("lines", "preempt", "accept"),
    [
        ("nopreempt\nno_accept", False, False),
        ("nopreempt\npreempt\nno_accept\naccept", True, True),
        ("preempt\nnopreempt\naccept\nno_accept", False, False),
    ],
)
def test_of_words_that_contradict_each_other_the_last_one_counts(
    instance, lines: str, preempt: bool, accept: bool
) -> None:
    one = instance(lines)
    assert (one.preempt, one.accept) == (preempt, accept)


def test_of_repeated_words_the_one_counts_that_keepalived_takes(instance, read) -> None:
    one = instance("version 3\nversion 2\nstate MASTER\nstate BACKUP\npriority 9\npriority 8")
    assert (one.version, one.initial_state, one.priority) == (3, "MASTER", 8)
    assert read("net_namespace a\nnet_namespace b\n").net_namespace == "a"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("unicast_ttl 300", "unicast_ttl has no effect without unicast_peer"),
        ("check_unicast_src", "check_unicast_src has no effect without unicast_peer"),
        ("track_src_ip", "track_src_ip has no effect: no source address"),
        ("strict_mode\ndown_timer_adverts 5", "vrrp_strict does not know down_timer_adverts"),
    ],
)
def test_a_word_that_has_no_effect_here_is_named(instance, line: str, message: str) -> None:
    one = instance(line)
    assert any(message in warning for warning in instance.warnings)
    assert one.down_timer_adverts == 3


def test_strict_mode_sends_what_the_standard_says(instance) -> None:
    one = instance("strict_mode\nlower_prio_no_advert off\nhigher_prio_send_advert on")
    assert (one.lower_prio_no_advert, one.higher_prio_send_advert) == (True, False)


def test_unicast(instance) -> None:
    one = instance(
        "unicast_src_ip 10.0.0.1/24\nunicast_ttl 64\nunicast_peer{\n10.0.0.2\n10.0.0.3/24\n10.0.0.2\n}"
    )
    assert one.source == ip_address("10.0.0.1")
    assert one.unicast == Unicast((ip_address("10.0.0.2"), ip_address("10.0.0.3")), 64, check_source=True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("unicast_peer {\n}", "unicast_peer is empty"),
        ("unicast_peer {\npeer.example.org\n}", "unicast peer is 'peer.example.org'"),
        ("unicast_peer {\n2001:db8::2\n}", "is not IPv4 like the virtual addresses"),
        ("priority 256", "priority is '256'"),
        ("priority", "priority is missing its value (write: priority N)"),
        ("priority 1e2", "a whole number from 1 to 255"),
        ("priority $PRIO", "'$PRIO' uses a name that is not defined"),
        ("advert_int 0", "advert_int is '0'"),
        ("advert_int nan", "advert_int is 'nan'"),
        ("advert_int 1e1", "advert_int is '1e1'"),
        ("advert_int 1_0", "advert_int is '1_0'"),
        ("version 4", "VRRP version is '4'"),
        ("auth_hmac {\nkey 1 ascii:x\n}", "auth_hmac is not supported"),
        ("authentication {\nauth_type AH\n}", "auth_type AH is not supported"),
        ("authentication {\nauth_type PASS;\nauth_pass x\n}", "needs no semicolon"),
        ("authentication {\nauth_type PASS\n}", "auth_type PASS without auth_pass"),
        ("authentication { auth_type PASS auth_pass 1234 }", "one keyword a line"),
        (
            "track_process {\nhaproxy\n}",
            "track_process names 'haproxy', and no vrrp_track_process defines it",
        ),
        ("track_file {\nf\n}", "track_file names 'f', and no track_file block defines it"),
        ("track_bfd {\nb\n}", "track_bfd is not supported"),
        ("owner_ignore_adverts on", "owner_ignore_adverts is not supported"),
        ("vrf red", "vrf is not supported"),
        ("mcast_dst_ip 10.0.0.1", "an IPv4 multicast address"),
        ("some_block {\nx\n}", "unknown block 'some_block' in vrrp_instance"),
        ("notify_master /x {\n}", "takes no block"),
        ("unicast_peer 10.0.0.2", "unicast_peer needs a block"),
    ],
)
def test_what_would_change_who_is_master_is_an_error(errors, line: str, message: str) -> None:
    text = f"vrrp_instance VI_1 {{\ninterface eth0\nvirtual_router_id 1\n{line}\nvirtual_ipaddress {{\n10.0.0.5\n}}\n}}\n"
    found = errors(text)
    assert message in found[0]
    assert found[0].startswith("c.conf:")
    assert len(found) == 1


def test_off_switches_need_no_word(instance) -> None:
    instance("owner_ignore_adverts off\nsmtp_alert no\nnotify_priority_changes false")
    assert not instance.warnings


@pytest.mark.parametrize(
    ("written", "secret", "warning"),
    [
        ("abcd1234", b"abcd1234", ""),
        ("abcd12345", b"abcd1234", "only the first 8 count"),
        ("ab!cd", b"ab", "ends where a ! or # begins a comment"),
        ('"ab!cd"', b"ab!cd", ""),
        (r"ab\!cd", b"ab!cd", ""),
        ("pa$wd", b"pa$wd", ""),
        ("ä", "ä".encode(), "outside ASCII"),
    ],
)
def test_the_password_is_what_keepalived_would_send(
    instance, written: str, secret: bytes, warning: str
) -> None:
    one = instance(f"authentication {{\nauth_type PASS\nauth_pass {written}\n}}")
    assert one.auth_pass == secret
    assert bool(instance.warnings) == bool(warning)
    assert warning in "".join(instance.warnings)


@pytest.mark.parametrize("line", ["version 3", "strict_mode"])
def test_version_3_and_strict_mode_carry_no_password(instance, line: str) -> None:
    one = instance(f"{line}\nauthentication {{\nauth_type PASS\nauth_pass x\n}}")
    assert one.auth_pass is None
    assert any("has no authentication" in text for text in instance.warnings)


def test_global_defaults_reach_the_instance(instance) -> None:
    one = instance(
        "garp_master_delay 1",
        before="""
global_defs {
    vrrp_version 3
    vrrp_garp_master_repeat 2
    vrrp_garp_master_refresh 60
    vrrp_garp_interval 0
    vrrp_down_timer_adverts 5
    vrrp_mcast_group4 224.0.0.20
    vrrp_skip_check_adv_addr
    v3_checksum_as_v2 on
    vrrp_lower_prio_no_advert
    vrrp_higher_prio_send_advert off
}
""",
    )
    assert one.garp == Garp(2, SECOND, 60 * SECOND, 1, SECOND, 2)
    assert (one.version, one.down_timer_adverts, one.multicast_group) == (3, 5, ip_address("224.0.0.20"))
    assert (one.skip_check_adv_addr, one.checksum_as_v2) == (True, True)
    assert (one.lower_prio_no_advert, one.higher_prio_send_advert) == (True, False)
    assert not instance.warnings


def test_min_garp(instance) -> None:
    assert instance(before="global_defs {\nvrrp_min_garp\n}\n").garp == Garp(1, 0, 0, 1, 0, 1)


def test_an_unknown_keyword_is_a_warning_with_a_suggestion(instance) -> None:
    instance("prioritty 100\nno_preempt\nvrrp_garp_master_delay 1")
    assert (
        "unknown keyword 'prioritty' in vrrp_instance: the line has no effect (did you mean priority?)"
        in instance.warnings[0]
    )
    assert "(did you mean nopreempt?)" in instance.warnings[1]
    assert "(vrrp_garp_master_delay belongs into global_defs)" in instance.warnings[2]


def test_a_repeated_keyword_says_which_one_counts(instance) -> None:
    one = instance("priority 50\npriority 60\nnotify_master /a\nnotify_master /b")
    assert one.priority == 60
    assert one.notify.master is not None
    assert one.notify.master.argv == ("/a",)
    assert len(instance.warnings) == 2


def test_a_bare_notify_deleted_runs_nothing(instance) -> None:
    assert instance("notify_deleted").notify.deleted is None
    assert instance("notify_deleted\nnotify_deleted /x").notify.deleted is None


def test_a_veto_script_has_a_timeout_and_a_pause(instance) -> None:
    assert instance("priority 50").veto is None
    veto = instance('veto_script "/usr/local/bin/may-claim web" ha').veto
    assert veto is not None
    assert (veto.command.argv, veto.command.user) == (("/usr/local/bin/may-claim", "web"), "ha")
    assert (veto.timeout, veto.pause) == (5 * SECOND, 3 * SECOND)
    veto = instance("veto_script /x\nveto_timeout 0.5\nveto_pause 10").veto
    assert veto is not None
    assert (veto.timeout, veto.pause) == (SECOND // 2, 10 * SECOND)


def test_a_veto_pause_alone_is_pointless(instance) -> None:
    instance("veto_pause 10")
    assert "veto_pause without veto_script" in instance.warnings[0]
