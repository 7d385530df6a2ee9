"""A world of nodes and voting files around the pure steps of ``arbiters.shared_file.ballot``.

States are immutable and hashable, so one function serves the exhaustive search and the random schedules. A write and
the read after it are two events; between them anything may happen. A node may crash at any time: its memory is lost, a
write in flight lands or not, and it comes back only after that (the lock of its helper process sees to it).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from arbiters.shared_file import ballot
from arbiters.shared_file.ballot import EMPTY, ENDS, Accepted, Attempt, Block, Phase, View, Wanted


class Violation(AssertionError):  # noqa: N818 - it is the promise that is violated
    """Two values were decided for one version, or a verdict was wrong."""


@dataclass(frozen=True)
class Operation:
    """What is under way at one file for one node: write ``block`` (None: nothing or done), read, answer."""

    round: int
    block: Block | None
    view: View | None = None  # was read, the answer is on its way


@dataclass(frozen=True)
class Node:
    """One node: what is left to swap, the attempt under way, and one operation per file at most."""

    todo: tuple[Wanted, ...]
    attempt: Attempt | None = None
    mine: Block | None = EMPTY
    standing: bool = False
    flying: tuple[Operation | None, ...] = ()
    due: tuple[Operation | None, ...] = ()  # waits for the one that is flying
    crashed: bool = False
    crashes: int = 1
    retries: int = 1
    rounds: int = 0  # numbers go on, so that an answer to an earlier attempt is recognised

    def __hash__(self) -> int:
        return hash(
            (
                self.todo,
                self.mine,
                self.flying,
                self.due,
                self.crashed,
                self.crashes,
                self.retries,
                self.rounds,
            )
        )


@dataclass(frozen=True)
class World:
    files: tuple[tuple[Block, ...], ...]
    nodes: tuple[Node, ...]
    decided: tuple[tuple[int, bytes], ...] = ()  # version, value
    denied: frozenset[bytes] = frozenset()  # values of which a node was told that they never will be

    def key(self) -> object:
        """Return the state up to a renaming of the files, which are all alike."""
        columns = []
        for file, blocks in enumerate(self.files):
            heard = [node.attempt.heard.get(file) if node.attempt else None for node in self.nodes]
            columns.append((blocks, *((node.flying[file], node.due[file]) for node in self.nodes), *heard))
        rest = tuple(
            (
                node.todo,
                node.attempt
                and (
                    node.attempt.phase,
                    node.attempt.round,
                    node.attempt.ballot,
                    node.attempt.highest,
                    node.attempt.exposed,
                ),
                node.mine if node.attempt is None else node.attempt.mine,
                node.standing,
                node.crashed,
                node.crashes,
                node.retries,
                node.rounds,
            )
            for node in self.nodes
        )
        return (
            frozenset((column, columns.count(column)) for column in columns),
            rest,
            self.decided,
            self.denied,
        )


def new_world(files: int, todo: list[list[Wanted]], *, crashes: int = 1, retries: int = 1) -> World:
    """Return a world of empty files and of one node for each list of swaps."""
    nothing = (None,) * files
    nodes = tuple(
        Node(tuple(one), flying=nothing, due=nothing, crashes=crashes, retries=retries) for one in todo
    )
    return World(((EMPTY,) * len(nodes),) * files, nodes)


def events(world: World, *, answers_apart: bool = False) -> Iterator[tuple[object, ...]]:
    """Yield everything that may happen next."""
    for name, node in enumerate(world.nodes):
        for file, flying in enumerate(node.flying):
            if flying is None:
                continue
            if flying.view is not None:
                yield "answer", name, file
            elif flying.block is not None:
                yield "write", name, file
                if node.crashed:
                    yield "vanish", name, file
            elif not node.crashed:
                yield "read" if answers_apart else "hear", name, file
        if node.crashed:
            if not any(one and one.block for one in node.flying):
                yield "restart", name
            continue
        if node.crashes and node.attempt is not None:
            yield "crash", name
        if node.attempt is None and node.todo:
            yield "begin", name
        if node.attempt is not None and node.attempt.phase is Phase.LOST and node.retries:
            yield "again", name


def after(world: World, event: tuple[object, ...]) -> World:
    """Return the world after ``event``. Raises Violation."""
    kind, name, *rest = event
    node = world.nodes[name]  # type: ignore[index]
    if kind == "begin":
        attempt = ballot.begin(name, len(world.files), node.mine, node.todo[0], standing=node.standing)
        return _posted(
            world, name, replace(node, attempt=replace(attempt, round=node.rounds + 1), standing=False)
        )
    if kind == "again":
        return _posted(world, name, replace(node, attempt=node.attempt.again(), retries=node.retries - 1))
    if kind == "crash":
        flying = tuple(one if one and one.block else None for one in node.flying)
        return _with(
            world,
            name,
            replace(
                node,
                attempt=None,
                mine=None,
                standing=False,
                flying=flying,
                due=(None,) * len(flying),
                crashed=True,
                crashes=node.crashes - 1,
                todo=tuple(
                    replace(one, value=one.value + b"+") for one in node.todo
                ),  # what is written is unique
                rounds=node.attempt.round,
            ),
        )
    if kind == "restart":
        return _with(world, name, replace(node, crashed=False, flying=(None,) * len(world.files)))
    return _at_file(world, kind, name, rest[0])


def _at_file(world: World, kind: str, name: int, file: int) -> World:
    node = world.nodes[name]
    operation = node.flying[file]
    if kind == "write":
        blocks = list(world.files[file])
        blocks[name] = operation.block
        files = (*world.files[:file], tuple(blocks), *world.files[file + 1 :])
        done = None if node.crashed else replace(operation, block=None)
        return _seen(
            _with(replace(world, files=files), name, replace(node, flying=_put(node.flying, file, done)))
        )
    if kind == "vanish":
        return _with(world, name, replace(node, flying=_put(node.flying, file, None)))
    if kind == "read":
        seen = replace(operation, view=View(world.files[file]))
        return _with(world, name, replace(node, flying=_put(node.flying, file, seen)))
    view = operation.view or View(world.files[file])
    node = replace(node, flying=_put(node.flying, file, node.due[file]), due=_put(node.due, file, None))
    if node.attempt is None:
        return _with(world, name, node)
    before = node.attempt
    attempt = before.hear(operation.round, file, view)
    node = replace(node, attempt=attempt)
    if attempt.phase in ENDS:
        return _ended(world, name, node)
    return _posted(world, name, node) if attempt.round != before.round else _with(world, name, node)


def _posted(world: World, name: int, node: Node) -> World:
    """Start the attempt's round at every file; where one is under way already, it comes after."""
    attempt = node.attempt
    operation = Operation(attempt.round, attempt.block)
    flying, due = list(node.flying), list(node.due)
    for file in range(len(world.files)):
        if flying[file] is None:
            flying[file] = operation
        else:
            due[file] = operation
    return _with(world, name, replace(node, flying=tuple(flying), due=tuple(due)))


def _ended(world: World, name: int, node: Node) -> World:
    """Note the verdict, and forget what was not sent yet."""
    attempt = node.attempt
    node = replace(node, due=(None,) * len(world.files))
    if attempt.phase is Phase.LOST:
        return _with(world, name, node if node.retries else _idle(node, ()))
    world = _verdict(world, attempt)
    return _with(world, name, _idle(node, node.todo[1:], standing=attempt.decided is not None))


def _idle(node: Node, todo: tuple[Wanted, ...], *, standing: bool = False) -> Node:
    return replace(
        node, attempt=None, mine=node.attempt.mine, rounds=node.attempt.round, todo=todo, standing=standing
    )


def _verdict(world: World, attempt: Attempt) -> World:
    wanted = attempt.wanted
    world = _decide(world, attempt.decided) if attempt.decided else world
    if attempt.phase is Phase.SWAPPED:
        return _decide(world, Accepted(attempt.version, wanted.name, wanted.value, ()))
    if wanted.value in dict(world.decided).values():
        raise Violation(f"{wanted.value!r} was decided, but its node was told that it was not")
    return replace(world, denied=world.denied | {wanted.value})


def _decide(world: World, accepted: Accepted) -> World:
    decided = dict(world.decided)
    if decided.setdefault(accepted.version, accepted.value) != accepted.value:
        raise Violation(
            f"version {accepted.version} is both {decided[accepted.version]!r} and {accepted.value!r}"
        )
    if accepted.value in world.denied:
        raise Violation(f"{accepted.value!r} was decided after its node was told that it never will be")
    return replace(world, decided=tuple(sorted(decided.items())))


def _seen(world: World) -> World:
    """Let an observer look through every majority of the files, as ``read`` does; what it sees must be final."""
    views = {file: View(blocks) for file, blocks in enumerate(world.files)}
    majority = len(views) // 2 + 1
    for some in combinations(views, majority):
        reading = {file: views[file] for file in some}
        proven, accepted = ballot.confirmed(reading, reading, majority)
        if proven and accepted is not None:
            world = _decide(world, accepted)
    return world


def _with(world: World, name: int, node: Node) -> World:
    return replace(world, nodes=_put(world.nodes, name, node))


def _put(items: tuple, at: int, item: object) -> tuple:
    return (*items[:at], item, *items[at + 1 :])


def search(world: World, *, most: int = 10_000_000) -> int:
    """Visit every state that can be reached; return how many there are. Raises Violation."""
    seen = {hash(world.key())}
    waiting = [world]
    while waiting:
        current = waiting.pop()
        for event in events(current):
            following = _tidied(after(current, event))
            key = hash(following.key())
            if key not in seen:
                seen.add(key)
                waiting.append(following)
        if len(seen) > most:
            raise RuntimeError(f"more than {most} states")
    return len(seen)


def _tidied(world: World) -> World:
    """Drop answers to earlier rounds, which change nothing, so that the search need not tell them apart."""
    for name, node in enumerate(world.nodes):
        for file, one in enumerate(node.flying):
            stale = node.attempt is None or (one is not None and one.round != node.attempt.round)
            if one is not None and one.block is None and stale:
                flying, due = _put(node.flying, file, node.due[file]), _put(node.due, file, None)
                return _tidied(_with(world, name, replace(node, flying=flying, due=due)))
    return world


def wander(seed: int, files: int = 3, nodes: int = 2, steps: int = 160) -> World:
    """Follow one random schedule, in which writes hang, land late and answers are overtaken. Raises Violation."""
    rng = random.Random(seed)
    world = new_world(files, [[] for _ in range(nodes)], crashes=2, retries=3)
    hung: dict[tuple[int, int], int] = {}
    for step in range(steps):
        world = _more_to_do(world, rng, step)
        possible = [one for one in events(world, answers_apart=True) if hung.get(one[1:3], 0) <= step]  # type: ignore[call-overload]
        possible = [one for one in possible if one[0] != "crash" or rng.random() < 0.03]
        if not possible:
            hung.clear()
            continue
        event = rng.choice(possible)
        if len(event) == 3 and rng.random() < 0.06:
            hung[event[1], event[2]] = step + rng.randrange(5, 60)
            continue
        world = after(world, event)
    return world


def _more_to_do(world: World, rng: random.Random, step: int) -> World:
    """Give an idle node a swap of what is decided now, or of something out of date."""
    for name, node in enumerate(world.nodes):
        if node.todo or node.attempt is not None or node.crashed or rng.random() < 0.5:
            continue
        version, before = rng.choice(((0, b""), *world.decided[-2:])) if world.decided else (0, b"")
        wanted = Wanted("r", f"{name}.{step}".encode(), version, before)
        world = _with(world, name, replace(node, todo=(wanted,), retries=3))
    return world
