"""What operators ask of a running agent, checked before it becomes an event of the core.

Promises to refuse, in words an operator can use, whatever would lead nowhere. Decides nothing the core decides again.
"""

from __future__ import annotations

from typing import Any

from haagent.agent.why import View, explain
from haagent.core.events import NodeDeclaredDown, SwitchoverRequested
from haagent.core.group import Group
from haagent.core.node import Node
from haagent.core.observation import SessionObservation
from haagent.core.units import Now, to_seconds
from haagent.effects.clock import Reading
from haagent.errors import ControlError


def why(node: Node, arguments: dict[str, Any], reading: Reading) -> dict[str, Any]:
    """Answer ``why``. Raises ControlError for an unknown instance, ValueError for a bad argument."""
    name = _text(arguments, "instance")
    for group in node.groups.values():
        for member in group.members:
            if name in (member.name, group.name):
                return explain(View(node, group, member, reading.now, reading.boottime))
    raise ControlError(f"no instance {name!r}; there are: {_instances(node)}")


def switchover(
    node: Node, peers: tuple[str, ...], arguments: dict[str, Any], now: Now
) -> SwitchoverRequested:
    """Return the event for ``switchover``. ``peers`` are the configured ones. Raises ControlError, ValueError."""
    group = _group(node, _text(arguments, "claim"))
    to = arguments.get("to")
    if to is not None and not isinstance(to, str):
        raise ValueError("to is the name of a node")
    if not group.raised:
        holder = group.claim.holder
        there = f"; {holder.node} is" if holder is not None else ""
        raise ControlError(f"{group.name} is not MASTER here{there}; ask the node that is")
    if node.context.paused:
        raise ControlError("this node is paused; resume it first")
    if node.parameters.arbitrated:
        _check_candidates(node, peers, to, now, force=arguments.get("force") is True)
    elif to is not None:
        raise ControlError("without an arbiter the priorities decide who is next; leave the node out")
    return SwitchoverRequested(group.name, to)


def declare_down(node: Node, peers: tuple[str, ...], arguments: dict[str, Any], now: Now) -> NodeDeclaredDown:
    """Return the event for ``declare-down``. Raises ControlError if the node is unknown, alive or this one."""
    name = _text(arguments, "node")
    if arguments.get("sure") is not True:
        raise ValueError('declaring a node down needs "sure": true')
    if name == node.session.parameters.node:
        raise ControlError(f"{name} is this node, and it runs")
    if name not in known_nodes(node, peers):
        raise ControlError(f"no node {name!r} is known here; {_nodes(node, peers)}")
    seen = node.observations.get(name)
    if seen is not None and seen.alive(now.slow):
        age = to_seconds(now.slow - seen.since)
        raise ControlError(f"{name} is not down: it renewed its session {age:.1f} s ago")
    return NodeDeclaredDown(name)


def known_nodes(node: Node, peers: tuple[str, ...]) -> frozenset[str]:
    """Return every other node that was ever seen, named by a claim, or configured."""
    seen = {name for name, observation in node.observations.items() if observation.record is not None}
    for group in node.groups.values():
        seen.update(group.claim.named())
        if group.claim.claim is not None:
            seen.update(group.claim.claim.electors)
    return frozenset(seen | set(peers)) - {node.session.parameters.node}


def _check_candidates(node: Node, peers: tuple[str, ...], to: str | None, now: Now, *, force: bool) -> None:
    if force:
        return
    if to is None:
        if not any(seen.alive(now.slow) for seen in node.observations.values()):
            raise ControlError(
                f"no other node has been seen alive, nobody would take over; {_nodes(node, peers)}"
            )
        return
    if to == node.session.parameters.node:
        raise ControlError(f"{to} is this node, and it is MASTER")
    if to not in known_nodes(node, peers):
        raise ControlError(f"no node {to!r} is known here; {_nodes(node, peers)}")
    seen = node.observations.get(to)
    if seen is None or not seen.alive(now.slow):
        raise ControlError(f"{to} is no candidate: {_last_sign(seen, now)}")
    electors = node.session.parameters.electors
    if electors and to not in electors:
        raise ControlError(f"{to} is no candidate: the electors are {', '.join(electors)}")


def _last_sign(seen: SessionObservation | None, now: Now) -> str:
    if seen is None or seen.record is None:
        return "it has no session with the arbiter"
    if seen.session is not None and seen.session.ended:
        return f"its session was ended by {seen.session.ended_by}"
    return f"its last sign of life came {to_seconds(now.slow - seen.since):.1f} s ago"


def _group(node: Node, name: str) -> Group:
    for group in node.groups.values():
        if name == group.name or any(member.name == name for member in group.members):
            return group
    raise ControlError(f"no instance {name!r}; there are: {_instances(node)}")


def _instances(node: Node) -> str:
    names = {
        name for group in node.groups.values() for name in (group.name, *(m.name for m in group.members))
    }
    return ", ".join(sorted(names)) or "none"


def _nodes(node: Node, peers: tuple[str, ...]) -> str:
    return f"known: {', '.join(sorted(known_nodes(node, peers))) or 'none'}"


def _text(arguments: dict[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str):
        raise ValueError(f'"{name}" must be a text')  # noqa: TRY004 - data, not our call
    return value
