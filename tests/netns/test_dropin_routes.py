"""Routes, rules and static entries come and go with an instance on a real host, and nothing else is touched."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dropin_lab import VIP, Host, configuration, eventually, host, ip

pytestmark = pytest.mark.netns
KEEPALIVED = "keepalived"  # protocol 18 in ip route's words, or the number where rt_protos has no name


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path) as made:
        yield made


def ours(here: Host, *words: str) -> list[tuple]:
    """Return (destination, gateway, device, table, metric, source) of the routes with keepalived's protocol."""
    found = here.routes(*words)
    return sorted(
        (r["dst"], r.get("gateway"), r.get("dev"), r.get("table", "main"), r.get("metric"), r.get("prefsrc"))
        for r in found
        if r.get("protocol") in ("18", KEEPALIVED)
    )


ROUTES = f"""virtual_routes {{
    10.99.0.0/24 via 10.77.0.9 dev lan metric 50
    src {VIP} default via 10.78.0.9 dev wan table 100
    blackhole 10.98.0.0/16
    10.97.0.0/24 dev wan scope link src {VIP} mtu 1400
    10.96.0.0/24 nexthop via 10.77.0.8 dev lan weight 2 nexthop via 10.78.0.8 dev wan
    10.95.0.0/24 via 10.94.0.1 dev lan onlink
}}"""
RULES = f"""virtual_rules {{
    from {VIP} table 100 priority 1000
    to 10.99.0.0/24 iif wan fwmark 0x10/0xff lookup 200 preference 1001
    not from 10.0.0.0/8 oif lan ipproto tcp dport 80-90 goto 32766 priority 1002
}}"""


def test_routes_and_rules_follow_the_addresses(here):
    ip(
        "-n", here.name, "route", "add", "10.99.0.0/24", "via", "10.77.0.7", "metric", "50"
    )  # the administrator's
    before = here.rules()
    here.start(configuration(ROUTES, RULES))
    assert not ours(here)
    here.wait_master()
    assert eventually(lambda: ours(here), "routes") == [
        ("10.95.0.0/24", "10.94.0.1", "lan", "main", None, None),
        ("10.96.0.0/24", None, None, "main", None, None),
        ("10.97.0.0/24", None, "wan", "main", None, VIP),
        ("10.98.0.0/16", None, None, "main", None, None),
        ("10.99.0.0/24", "10.77.0.9", "lan", "main", 50, None),
        ("default", "10.78.0.9", "wan", "100", None, VIP),
    ]
    assert [rule for rule in here.rules() if rule not in before] == [
        f"1000: from {VIP} lookup 100 proto 18".replace("18", _protocol(here)),
        f"1001: from all to 10.99.0.0/24 fwmark 0x10/0xff iif wan lookup 200 proto {_protocol(here)}",
        f"1002: not from 10.0.0.0/8 oif lan ipproto tcp dport 80-90 goto 32766 proto {_protocol(here)}",
    ]
    ip("-n", here.far, "link", "set", "lan", "down")
    here.wait_gone()
    assert not ours(here)
    assert here.rules() == before
    ip("-n", here.far, "link", "set", "lan", "up")
    here.wait_master()
    here.stop()
    assert (ours(here), here.rules()) == ([], before)
    assert any(r["dst"] == "10.99.0.0/24" and r.get("gateway") == "10.77.0.7" for r in here.routes())


def _protocol(here: Host) -> str:
    return next((r.rpartition(" ")[2] for r in here.rules() if "proto" in r.split()), "18")


def test_what_is_taken_away_comes_back_and_what_is_left_is_swept(here):
    text = configuration(
        "virtual_routes {\n10.99.0.0/24 via 10.77.0.9\n}",
        "virtual_rules {\nfrom 10.1.0.0/16 table 7 priority 9\n}",
    )
    here.start(text)
    here.wait_master()
    eventually(lambda: ours(here), "a route")
    ip("-n", here.name, "route", "del", "10.99.0.0/24")
    ip("-n", here.name, "rule", "del", "priority", "9")
    eventually(lambda: ours(here) and any("10.1.0.0" in rule for rule in here.rules()), "both again")
    os.kill(here.process.pid, signal.SIGSTOP)
    here.process.kill()
    assert ours(here)
    here.start(text.replace("priority 150", "priority 150\ntrack_interface {\nnone\n}"))
    eventually(lambda: not ours(here) and not any("10.1.0.0" in rule for rule in here.rules()), "the sweep")


def test_a_reload_takes_away_and_adds_while_master(here):
    here.start(configuration("virtual_routes {\n10.99.0.0/24 via 10.77.0.9\n10.98.0.0/24 via 10.77.0.9\n}"))
    here.wait_master()
    eventually(lambda: len(ours(here)) == 2, "two routes")
    here.reload(configuration("virtual_routes {\n10.99.0.0/24 via 10.77.0.9\n10.97.0.0/24 via 10.77.0.9\n}"))
    eventually(lambda: [r[0] for r in ours(here)] == ["10.97.0.0/24", "10.99.0.0/24"], "the others")
    assert here.has_vip()


def test_a_refused_route_is_told_once_and_costs_nothing_else(here):
    here.start(
        configuration("virtual_routes {\n10.99.0.0/24 via 10.94.0.1 dev lan\n10.98.0.0/24 via 10.77.0.9\n}")
    )
    here.wait_master()
    eventually(lambda: ours(here), "the good one")
    time.sleep(2.2)
    assert [r[0] for r in ours(here)] == ["10.98.0.0/24"]
    assert here.text().count("10.99.0.0/24 via 10.94.0.1 dev lan: ") == 1
    assert here.has_vip()


def test_metrics_locks_and_hops_reach_the_kernel(here):
    here.start(
        configuration(
            "virtual_routes {\n10.92.0.0/24 via 10.77.0.9 dev lan mtu lock 1400 rto_min lock 200ms hoplimit 9 features ecn\n"
            "10.91.0.0/24 nexthop via 10.94.0.1 dev lan onlink nexthop via 10.78.0.8 dev wan\n"
            "append 10.90.0.0/24 via 10.77.0.9 dev lan\n}"
        )
    )
    here.wait_master()
    eventually(lambda: len(ours(here)) == 3, "three routes")
    shown = ip("-n", here.name, "-d", "route", "show")
    assert "mtu lock 1400" in shown
    assert "rto_min lock 200ms" in shown
    assert "hoplimit 9" in shown
    assert "features ecn" in shown
    assert "nexthop via 10.94.0.1 dev lan weight 1 onlink" in shown
    here.stop()
    assert not ours(here)


def test_static_entries_live_as_long_as_the_agent(here):
    ip("-n", here.name, "addr", "flush", "dev", "lan")
    top = "static_ipaddress {\n10.77.0.1/24 dev lan\n}\n"
    top += "static_routes {\n10.99.0.0/24 via 10.77.0.9 dev lan\n}\nstatic_rules {\nfrom 10.2.0.0/16 table 7 priority 8\n}\n"
    here.start(configuration(top=top))
    here.wait_master()  # its adverts leave from the static address
    assert "lan 10.77.0.1/24" in here.addresses()
    assert [r[0] for r in ours(here)] == ["10.99.0.0/24"]
    ip("-n", here.name, "route", "del", "10.99.0.0/24")
    eventually(lambda: ours(here), "the static route again")
    here.stop()
    assert here.addresses("lan") == []
    assert not ours(here)
    assert not any("10.2.0.0" in rule for rule in here.rules())


def test_a_static_address_is_preferred_for_a_time_that_begins_anew_only_when_it_was_gone(here):
    """Counterexample: put back every second whether it was there or not, it was preferred for ever.

    An IPv4 address that is valid for ever is so for Linux, whatever is asked for; IPv6 shows it.
    """
    static = "fd79::1/64"

    def left() -> int | None:
        """Return for how many seconds more it is preferred, None while it is not there."""
        shown = json.loads(ip("-n", here.name, "-j", "addr", "show", "dev", "wan"))
        found = {
            f"{a['local']}/{a['prefixlen']}": a["preferred_life_time"]
            for link in shown
            for a in link["addr_info"]
        }
        return found.get(static)

    here.start(configuration(top=f"static_ipaddress {{\n{static} dev wan preferred_lft 4\n}}\n"))
    here.wait_master()
    eventually(lambda: left() == 0, "the end of the time")
    ip("-n", here.name, "addr", "del", static, "dev", "wan")
    eventually(lambda: left() or 0, "the address again, preferred")
    eventually(lambda: left() == 0, "the end of that time")


def test_ipv6_routes_and_rules(here):
    ip("-n", here.name, "addr", "add", "fd77::1/64", "dev", "lan", "nodad")
    inside = ("virtual_ipaddress_excluded {\nfd77::100/64\n}", "virtual_routes {\nfd99::/64 via fd77::9 dev lan metric 5\n}",
              "virtual_rules {\nfrom fd77::100 table 100 priority 77\n}")  # fmt: skip
    here.start(configuration(*inside))
    here.wait_master()
    assert eventually(lambda: ours(here, "-6"), "a route") == [
        ("fd99::/64", "fd77::9", "lan", "main", 5, None)
    ]
    assert any(rule.startswith("77: from fd77::100 lookup 100") for rule in here.rules("-6"))
    here.stop()
    assert not ours(here, "-6")
    assert not any(rule.startswith("77:") for rule in here.rules("-6"))


def test_promote_secondaries_is_set_and_put_back(here):
    def value() -> str:
        return here.run("cat", "/proc/sys/net/ipv4/conf/lan/promote_secondaries").strip()

    assert value() == "0"
    here.start(configuration("promote_secondaries"))
    here.wait_master()
    assert value() == "1"
    here.stop()
    assert value() == "0"
