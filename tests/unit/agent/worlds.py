"""The perfect little world of the core's tests, with nodes configured by files and, if wanted, recorded."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from haagent.agent.parameters import Run, node_parameters
from haagent.agent.recordings import about, codec
from haagent.config.load import load
from haagent.config.model import Configuration
from haagent.core.actions import SendAdvertisement
from haagent.core.events import Event, LinkChanged, PrimaryAddressChanged, Startup
from haagent.core.node import Node
from haagent.core.units import SECOND, Now
from haagent.effects.recorder import Recorder
from tests.unit.core.pair import World


def configuration(
    directory: Path,
    *,
    priority: int = 100,
    version: int = 3,
    advert: str = "1",
    arbiter: str = "",
    more: str = "",
) -> Configuration:
    """Return what a file with one instance means; ``arbiter`` are words of the arbiter block, or "none"."""
    block = "arbiter none\n" if arbiter == "none" else f"arbiter etcd {{\nendpoints h1:2379\n{arbiter}\n}}\n"
    text = (
        f"vrrp_instance VI_1 {{\nstate BACKUP\ninterface eth0\nvirtual_router_id 51\nversion {version}\n"
        f"priority {priority}\nadvert_int {advert}\nvirtual_ipaddress {{\n192.0.2.9/24\n}}\n}}\n"
    )
    file = directory / f"{priority}.conf"
    file.write_text(text + block + more)
    return load([file], config_id="test")


def peers(directory: Path, *nodes: str) -> str:
    """Return a ``peers`` block."""
    key = directory / "key"
    key.write_text("sixteen characters and more")
    key.chmod(0o600)
    lines = "".join(f"node {name} 192.0.2.{number}\n" for number, name in enumerate(nodes, 1))
    return f"peers {{\n{lines}key_file {key}\n}}\n"


def join(
    world: World, name: str, config: Configuration, *, record: Path | None = None, host: str = ""
) -> Node:
    """Add a node that is configured by a file; return it."""
    run = Run(name, f"inc-{name}", f"host-{host or name}")
    parameters = node_parameters(config, run, ())
    node = Node(parameters)
    if record is not None:
        keep(node, Recorder(str(record), about(run, parameters), codec()))
    world.nodes[name] = node
    world.do(name, LinkChanged("eth0", up=True))
    address = ip_address(f"192.0.2.{config.instances[0].priority}")
    world.do(name, PrimaryAddressChanged("VI_1", address))
    world.do(name, Startup())
    return node


RECORDERS: dict[int, Recorder] = {}


def keep(node: Node, recorder: Recorder) -> None:
    """Record everything this node handles from now on."""
    handle = node.handle

    def recorded(event: Event, now: Now):
        actions = handle(event, now)
        recorder.record(event, now, actions)
        return actions

    node.handle = recorded  # type: ignore[method-assign]
    RECORDERS[id(node)] = recorder


def finish(*nodes: Node) -> None:
    """Write what is left of the recordings."""
    for node in nodes:
        RECORDERS.pop(id(node)).close(5.0)


def took_over(world: World, name: str, since: float) -> float:
    """Return after how many seconds ``name`` advertised, which it does when all is in place."""
    at = world.when(name, SendAdvertisement, since)
    assert at is not None, f"{name} never took over"
    return at - since


def seconds(span: int) -> float:
    return span / SECOND
