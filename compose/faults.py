"""What each fault of the campaign does to the containers, and the one way to undo them all.

A fault's name here is its name in campaign.py. Every one returns at once, but for the loops that go on until ``healed``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from campaign import Shot
from deployment import Deployment, haproxy

STUTTER = 0.1  # s a stuttering server stands still, and then runs
VOTES = ("/votes/1", "/votes/2", "/votes/3")
HEALED = "add table netdev nemesis\ndelete table netdev nemesis\n"
BOTH = ("out", "in")
VRRP_OUT, VRRP_IN = ("lan0", "out", "ip protocol 112"), ("lan0", "in", "ip protocol 112")
PACKETS = frozenset({"cut-vrrp", "mute", "deaf", "cut-arbiter", "cut-peers", "partition"})
ARBITER_PORTS = "{ 2181, 2379 }"

ZK_MODE = """
import socket
with socket.create_connection(("127.0.0.1", 2181), 1) as asked:
    asked.sendall(b"srvr")
    print(b"Mode: leader" in asked.makefile("rb").read())
"""
ZK_WIPE = """
from kazoo.client import KazooClient
client = KazooClient("198.51.100.14:2181,198.51.100.15:2181,198.51.100.16:2181")
client.start(5)
def below(path):
    for child in client.get_children(path):
        yield from below(f"{path}/{child}")
    yield path
for _ in range(20):  # all at once, as a loss is; again if an agent has written in between
    whole = client.transaction()
    for path in below("/haagent"):
        whole.delete(path)
    if not any(isinstance(one, Exception) for one in whole.commit()):
        break
else:
    raise SystemExit("the tree changes faster than it can be deleted")
client.stop()
"""


def ruleset(rules: Sequence[tuple[str, str, str]]) -> str:
    """Return an nft table that drops, inside a node: (device, way as the node sees it, match)."""
    hooks = {"out": "egress", "in": "ingress"}
    chains = "".join(
        f'chain c{number} {{ type filter hook {hooks[way]} device "{device}" priority -500; {match} drop; }}\n'
        for number, (device, way, match) in enumerate(rules)
    )
    return f"table netdev nemesis {{\n{chains}}}\n"


def drops(fault: str, others: Sequence[str], mgmt: str) -> list[tuple[str, str, str]]:
    """Return what a packet fault drops. ``others``: the other nodes' MACs on lan0; ``mgmt``: the interface there."""
    arbiter = [(mgmt, "out", f"tcp dport {ARBITER_PORTS}"), (mgmt, "in", f"tcp sport {ARBITER_PORTS}")]
    peers = [
        (device, way, f"udp {side} 5405")
        for device in ("lan0", mgmt)
        for way in BOTH
        for side in ("dport", "sport")
    ]
    macs = f"{{ {', '.join(others)} }}"
    lan = [("lan0", "out", f"ether daddr {macs}"), ("lan0", "in", f"ether saddr {macs}")]
    return {
        "cut-vrrp": [VRRP_OUT, VRRP_IN],
        "mute": [VRRP_OUT],
        "deaf": [VRRP_IN],
        "cut-arbiter": arbiter,
        "cut-peers": peers,
        # from peers and arbiter; clients still reach it
        "partition": [VRRP_OUT, VRRP_IN, *lan, *((mgmt, way, "meta length > 0") for way in BOTH)],
    }[fault]


def inject(cluster: Deployment, shot: Shot, target: str, healed: threading.Event) -> None:
    """Break it. ``target`` is a node, or for the arbiter's faults any node."""
    if shot.fault in PACKETS:
        others = [mac for mac, node in cluster.macs().items() if node != target]
        rules = ruleset(drops(shot.fault, others, cluster.mgmt_device(target)))
        cluster.inside(target, "nft", "-f", "-", stdin=rules)
        return
    etcd, zookeeper = cluster.etcd, cluster.zookeeper
    actions: dict[str, Callable[[], object]] = {
        "pause": lambda: cluster("pause", target),
        "sigstop": lambda: cluster.signal_agent(target, "STOP"),
        "kill-agent": lambda: cluster.signal_agent(target, "KILL"),
        "kill-container": lambda: cluster("kill", target),
        "stop": lambda: cluster("stop", target),
        "restart": lambda: cluster("restart", target),
        "disconnect-mgmt": lambda: cluster.disconnect_mgmt(target),
        "stop-haproxy": lambda: cluster("stop", haproxy(target), options=("-t", "1")),
        "pause-etcd-1": lambda: cluster("pause", etcd[0]),
        "pause-etcd-all": lambda: cluster("pause", *etcd),
        "stop-etcd-2": lambda: cluster("kill", *etcd[:2]),
        "kill-etcd-leaders": lambda: kill_leaders(cluster, etcd, leads_etcd, shot.hold, healed),
        "stutter-etcd": lambda: stutter(cluster, etcd, shot.hold, healed),
        "wipe-etcd": lambda: cluster.inside(etcd[0], "etcdctl", "del", "", "--prefix"),
        "pause-zookeeper-1": lambda: cluster("pause", zookeeper[0]),
        "pause-zookeeper-all": lambda: cluster("pause", *zookeeper),
        "stop-zookeeper-2": lambda: cluster("kill", *zookeeper[:2]),
        "kill-zookeeper-leaders": lambda: kill_leaders(
            cluster, zookeeper, leads_zookeeper, shot.hold, healed
        ),
        "stutter-zookeeper": lambda: stutter(cluster, zookeeper, shot.hold, healed),
        "wipe-zookeeper": lambda: cluster.inside(target, "python3", "-c", ZK_WIPE),
        # as a server that lost its disk: the file is there and empty
        "truncate-file": lambda: cluster.inside(target, "truncate", "-s", "0", VOTES[0]),
    }
    actions[shot.fault]()


def kill_leaders(
    cluster: Deployment,
    members: Sequence[str],
    leads: Callable[[Deployment, str], bool],
    seconds: float,
    healed: threading.Event,
) -> None:
    """Kill whoever leads and start it again, until the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not healed.wait(0.5):
        leader = next((one for one in members if leads(cluster, one)), None)
        if leader is not None:
            cluster("kill", leader)
            cluster("start", leader)


def stutter(cluster: Deployment, members: Sequence[str], seconds: float, healed: threading.Event) -> None:
    """Let servers stand still half of the time, all at once: what a disk that chokes looks like from outside."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not healed.wait(STUTTER):
        cluster("pause", *members)
        time.sleep(STUTTER)
        cluster("unpause", *members)


def leads_etcd(cluster: Deployment, member: str) -> bool:
    """Ask one etcd member whether it is the leader."""
    words = ("etcdctl", "endpoint", "status", "--command-timeout=1s")
    fields = cluster.inside(member, "env", "ETCDCTL_API=3", *words, check=False).split(", ")
    return len(fields) > 4 and fields[4] == "true"


def leads_zookeeper(cluster: Deployment, member: str) -> bool:
    """Ask one ZooKeeper server whether it is the leader."""
    return cluster.inside(member, "python3", "-c", ZK_MODE, check=False).strip() == "True"


def heal_all(cluster: Deployment) -> None:
    """Undo every fault there is, whatever was injected; what is well is left alone."""
    for service in (*cluster.etcd, *cluster.zookeeper, *cluster.nodes):
        cluster.revive(service)
    for node in cluster.nodes:
        cluster.wait_running(node)
        cluster.inside(node, "nft", "-f", "-", stdin=HEALED, check=False)
        cluster.signal_agent(node, "CONT", check=False)
        cluster.connect_mgmt(node)
        follow(cluster, node)
    if cluster.arbiter in {"files", "quorum"}:
        replace_lost_file(cluster, cluster.nodes[0])


def replace_lost_file(cluster: Deployment, node: str) -> None:
    """Make the voting file anew that "truncate-file" emptied, as an operator would, with the agents running."""
    if cluster.inside(node, "stat", "-c", "%s", VOTES[0]).strip() == "0":
        cluster.inside(node, "haagent", "arbiter", "replace", *VOTES)


def follow(cluster: Deployment, node: str) -> None:
    """Restart a node's HAProxy if it is down, or older than the node: then it lives in a namespace that is gone."""
    own, its = cluster.state(node), cluster.state(haproxy(node))
    if not its["Running"] or its["StartedAt"] < own["StartedAt"]:
        cluster("restart", haproxy(node), options=("-t", "1"))
