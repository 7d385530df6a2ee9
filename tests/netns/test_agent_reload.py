"""SIGHUP, and what others do to the interface and the address: a MASTER that may stay MASTER stays it.

One agent with a real etcd; a peer is only in the way here. Every test begins with node1 as MASTER of VI_1.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator

import pytest
from agent_lab import ADVERT, SPEC, UNNOTICED, Agent, Lab, arbiter_block, eventually, lab, log_of, ms

from haagent.core.units import MILLISECOND, SECOND
from haagent.lab.daemons import keepalived_conf
from haagent.lab.namespaces import inside, run

pytestmark = [pytest.mark.netns, pytest.mark.etcd]
LEASE = 3 * SECOND  # reading a configuration takes the processor that others want, too
PLAIN = keepalived_conf(SPEC, "node1")
SECOND_VIP = "192.0.2.101"
SECOND_INSTANCE = f"""
vrrp_instance VI_2 {{
    interface lan
    virtual_router_id 52
    priority 150
    advert_int {ADVERT / 1e9:g}
    virtual_ipaddress {{
        {SECOND_VIP}/32 dev lan
    }}
}}
"""


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    with lab(nodes=1) as made:
        assert made.etcd is not None
        made.agent("node1", PLAIN, arbiter_block(made.etcd.endpoints, lease=LEASE))
        yield made


@pytest.fixture
def single(built: Lab) -> Iterator[Lab]:
    agent_of(built).conf.write_text(PLAIN)
    built.wait_owner("node1")
    yield built
    reload(built, PLAIN)
    built.wait_owner("node1")


def agent_of(built: Lab) -> Agent:
    agent = built.daemons["node1"]
    assert isinstance(agent, Agent)
    return agent


def reload(built: Lab, configuration: str, message: str = "configuration reloaded") -> None:
    agent = agent_of(built)
    done = log_of(agent, message)
    agent.conf.write_text(configuration)
    agent.hup()
    eventually(done, what=f"logging {message!r}")


def stayed(single: Lab, before: int, epoch: int) -> None:
    shown = agent_of(single).instance()
    assert shown["state"] == "MASTER"
    assert shown["epoch"] == epoch
    assert single.outage(before) < UNNOTICED


def test_a_changed_priority_is_in_the_next_advert(single: Lab):
    epoch, before = agent_of(single).instance()["epoch"], time.monotonic_ns()
    reload(single, PLAIN.replace("priority 150", "priority 180"))
    after = time.monotonic_ns()
    eventually(lambda: len(single.adverts("node1", after)) >= 3, what="three adverts")
    said = [priority for _, priority in single.adverts("node1", after)]
    assert set(said[1:]) == {180}, said  # one may have been on its way to the observer
    stayed(single, before, epoch)


def test_an_added_address_comes_and_a_removed_one_goes(single: Lab):
    epoch, before = agent_of(single).instance()["epoch"], time.monotonic_ns()
    first = "        192.0.2.100/32 dev lan\n"
    more = PLAIN.replace(first, first + first.replace("192.0.2.100", SECOND_VIP))
    reload(single, more)
    eventually(lambda: single.has_address("node1", SECOND_VIP), what="adding the address")
    eventually(lambda: answers(single, SECOND_VIP), what="letting the new address through the gate")
    reload(single, PLAIN)
    eventually(lambda: not single.has_address("node1", SECOND_VIP), what="removing the address")
    stayed(single, before, epoch)


def answers(single: Lab, address: str) -> bool:
    """A refused connection is an answer, too."""
    with inside(single.topology.client.namespace):
        client = socket.socket()
    with client:
        client.settimeout(0.3)
        try:
            return client.connect_ex((address, 9)) == errno.ECONNREFUSED
        except TimeoutError:
            return False


def test_an_added_instance_comes_and_a_removed_one_goes_in_order(single: Lab):
    agent = agent_of(single)
    epoch, before = agent.instance()["epoch"], time.monotonic_ns()
    reload(single, PLAIN + SECOND_INSTANCE)
    eventually(lambda: single.has_address("node1", SECOND_VIP), what="raising the new instance")
    eventually(lambda: answers(single, SECOND_VIP), what="letting the new instance through the gate")
    released = log_of(agent, "claim VI_2 released")
    reload(single, PLAIN)
    eventually(released, what="releasing the claim of the removed instance")
    assert not single.has_address("node1", SECOND_VIP)
    assert [one["name"] for one in agent.shown()["instances"]] == ["VI_1"]
    stayed(single, before, epoch)


def masters(agent: Agent) -> list[str]:
    """Return the claims of the instances that are MASTER, in the order of the configuration."""
    return [one["claim"] for one in agent.shown()["instances"] if one["state"] == "MASTER"]


def test_instances_move_into_a_sync_group_and_out_of_it_again(single: Lab):
    """Their claim is another one then: the old one is let go first, and nothing is left of it."""
    apart = PLAIN + SECOND_INSTANCE
    together = apart + "vrrp_sync_group both {\n    group {\n        VI_1\n        VI_2\n    }\n}\n"
    agent = agent_of(single)
    reload(single, apart)
    for configuration, claims in ((together, ["both", "both"]), (apart, ["VI_1", "VI_2"])):
        reload(single, configuration)
        eventually(
            lambda claims=claims: masters(agent) == claims, what=f"being MASTER by the claims {claims}"
        )
        single.wait_owner("node1")
    eventually(lambda: single.has_address("node1", SECOND_VIP), what="the second address")


def test_a_changed_script_takes_over_without_a_flap(single: Lab):
    agent = agent_of(single)
    epoch, before = agent.instance()["epoch"], time.monotonic_ns()
    reload(single, scripted("/bin/true"))
    eventually(lambda: agent.shown()["trackers"], what="tracking")
    failed = log_of(agent, r"VRRP_Script\(chk\) failed")
    reload(single, scripted("/bin/false"))
    eventually(failed, what="failing")
    eventually(lambda: agent.instance()["effective_priority"] == 130, what="lowering the priority")
    stayed(single, before, epoch)


def scripted(command: str) -> str:
    block = f'vrrp_script chk {{\n    script "{command}"\n    interval 1\n    weight -20\n}}\n'
    return block + PLAIN.replace(
        "    interface lan\n", "    interface lan\n    track_script {\n        chk\n    }\n"
    )


def test_a_broken_file_changes_nothing_and_is_named(single: Lab):
    agent = agent_of(single)
    epoch, before = agent.instance()["epoch"], time.monotonic_ns()
    broken = PLAIN.replace("priority 150", "priority 1500")
    line = broken.splitlines().index("    priority 1500") + 1
    reload(single, broken, "the old one stays in force")
    assert f"{agent.conf}:{line}" in agent.text()
    eventually(lambda: agent.instance()["priority"] == 150)
    stayed(single, before, epoch)


def test_a_missing_file_changes_nothing(single: Lab):
    agent = agent_of(single)
    epoch, before = agent.instance()["epoch"], time.monotonic_ns()
    kept, done = agent.conf.read_text(), log_of(agent, "the old one stays in force")
    agent.conf.unlink()
    agent.hup()
    eventually(done, what="refusing")
    agent.conf.write_text(kept)
    stayed(single, before, epoch)


def test_another_arbiter_needs_a_restart_and_says_so(single: Lab):
    epoch, before = agent_of(single).instance()["epoch"], time.monotonic_ns()
    addition = agent_of(single)._files[1]
    kept = addition.read_text()
    addition.write_text(kept.replace("arbiter etcd {", "arbiter etcd {\n    domain other"))
    try:
        reload(single, PLAIN, "needs a restart")
    finally:
        addition.write_text(kept)
    stayed(single, before, epoch)


def test_an_address_removed_by_hand_comes_back(single: Lab):
    node = single.topology.node("node1").namespace
    epoch, before = agent_of(single).instance()["epoch"], time.monotonic_ns()
    run("ip", "-n", node, "addr", "del", "192.0.2.100/32", "dev", "lan")
    eventually(lambda: single.has_address("node1"), what="putting the address back")
    time.sleep(0.1)
    print(f"address removed by hand: outage {ms(single.outage(before))} (keepalived: 410-450 ms)")
    assert single.outage(before) < 200 * MILLISECOND
    assert agent_of(single).instance()["epoch"] == epoch


def test_interface_down_is_fault_and_up_leads_back_to_master(single: Lab):
    agent, node = agent_of(single), single.topology.node("node1").namespace
    fault, backup = log_of(agent, "Entering FAULT"), log_of(agent, "Entering BACKUP")
    run("ip", "-n", node, "link", "set", "lan", "down")
    eventually(fault, what="FAULT")
    assert not single.has_address("node1")
    assert "lan" in agent.instance()["reason"]
    run("ip", "-n", node, "link", "set", "lan", "up")
    eventually(backup, what="BACKUP")
    single.wait_owner("node1")


def test_an_interface_deleted_and_made_again_is_found_again(single: Lab):
    agent, topology = agent_of(single), single.topology
    node = topology.node("node1")
    fault = log_of(agent, "Entering FAULT")
    run("ip", "-n", topology.switch, "link", "del", node.lan_port)
    eventually(fault, what="FAULT")
    run("ip", "-n", topology.switch, "link", "add", node.lan_port, "type", "veth", "peer", "name", "lan",
        "address", node.mac.hex(":"), "netns", node.namespace)  # fmt: skip
    run("ip", "-n", topology.switch, "link", "set", node.lan_port, "master", "lan", "up")
    run("ip", "-n", node.namespace, "addr", "add", f"{node.lan4}/24", "dev", "lan")
    run("ip", "-n", node.namespace, "link", "set", "lan", "up")
    single.wait_owner("node1")
    assert not agent.shown()["warnings"]


def test_a_burst_of_reloads_leaves_it_master(single: Lab):
    agent, before = agent_of(single), time.monotonic_ns()
    epoch = agent.instance()["epoch"]
    for number in range(10):
        agent.conf.write_text(PLAIN.replace("priority 150", f"priority {151 + number}"))
        agent.hup()
        time.sleep(0.05)
    eventually(lambda: agent.instance()["priority"] == 160)
    stayed(single, before, epoch)
