"""A ZooKeeper ensemble as an ``Arbiter``: registers are persistent znodes below ``/haagent/<domain>/``.

Promises that a swap compares the version *and* the value. ZooKeeper itself compares versions only, and they begin
again at 0 when a znode is deleted and made anew, and repeat when an ensemble is restored from a snapshot. So every
register has one child, its *seal*, named after a digest of the value, and a swap is one transaction:

    delete  <register>/<digest of expected value>     fails unless the register holds that value
    create  <register>/<digest of new value>
    setData <register>, new value, expected version   fails unless it is that version

Values are unique, so the seal stands for one write: whatever was deleted, re-made or restored in between, the
transaction fails unless the register holds exactly ``expected``. Who edits a register by hand (``set``) leaves
the old seal behind; such a register is sealed anew by a swap that names every child it found in its place.

A swap may be sent twice in one call, to another server after the first did not answer. The second then finds our own
value, which is success, or something else, which is a Conflict only if the first attempt was for certain not made.
Every value is readable with ``zkCli.sh get /haagent/<domain>/claims/<name>``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError, NoNodeError, RolledBackError

from arbiters.failures import NotSent
from arbiters.zookeeper.connection import Connection
from arbiters.zookeeper.failures import explain
from arbiters.zookeeper.paths import encode_name, make_parents, record, remove_tree, seal, version
from arbiters.zookeeper.presence import Presence
from arbiters.zookeeper.settings import Settings
from arbiters.zookeeper.watch import Change, Watch
from haagent.arbiter import Conflict, Misconfigured, Record, Unavailable

Answer = TypeVar("Answer")

PATIENCE = (
    0.4  # of a call's time until a silent server is given up for the next one, where there is a next one
)
ERASING = 2.0  # seconds a call may take that removes a znode
PAUSE = 0.01  # seconds between attempts, for the loss of a connection to be noticed
_REFUSED = (NoNodeError, NodeExistsError, BadVersionError)


class ZooKeeperArbiter:
    """The registers of one domain. Made inside a running event loop; connects in the background."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection = Connection(settings)
        self._presence = Presence(self._connection, settings)
        self._closed = asyncio.Event()

    async def read(self, name: str, *, timeout: float) -> Record | None:
        """Return what register ``name`` holds at the server we are connected to; may be old. Raises ArbiterError."""

        async def look(timeout: float, _: bool) -> Record | None:
            return await self._held(self._path(name), timeout)

        return await self._ask(look, timeout)

    async def swap(self, name: str, value: bytes, expected: Record | None, *, timeout: float) -> str:
        """Write ``value`` where ``expected`` is; return the new version. Raises as ``Arbiter.swap`` says."""
        swap = _Swap(self._connection, self._settings.root, self._path(name), value, expected)
        return await self._ask(swap.attempt, timeout)

    def changes(self) -> AsyncIterator[Change]:
        """Yield every register the domain holds, then each change; see ``watch``."""
        return Watch(self._connection, self._settings.root, self._closed).changes()

    async def erase(self) -> None:
        """Remove every znode of the domain, our own presence as well."""
        await self._presence.aclose()
        await remove_tree(self._connection, self._settings.root, ERASING)

    async def aclose(self) -> None:
        """End the session and every thread. Idempotent."""
        self._closed.set()
        await self._presence.aclose()
        await self._connection.aclose()

    def _path(self, name: str) -> str:
        return f"{self._settings.root}/{encode_name(name)}"

    async def _held(self, path: str, timeout: float) -> Record | None:
        try:
            value, stat = await self._connection.call(lambda client: client.get_async(path), timeout)
        except NoNodeError:
            return None
        return record(value, stat)

    async def _ask(self, question: Callable[[float, bool], Awaitable[Answer]], timeout: float) -> Answer:
        """Return the first answer to ``question(seconds, unresolved)``, asking again after a lost connection."""
        loop = asyncio.get_running_loop()
        deadline, unresolved = loop.time() + timeout, False
        patience = PATIENCE * timeout if len(self._settings.targets) > 1 else timeout
        while True:
            left = deadline - loop.time()
            try:
                return await question(max(0.001, min(patience, left)), unresolved)
            except NotSent as failure:
                last: Unavailable = failure
            except Unavailable as failure:
                last, unresolved = failure, True
            if self._closed.is_set() or loop.time() + 2 * PAUSE >= deadline:
                raise last
            await asyncio.sleep(PAUSE)


class _Swap:
    """One compare-and-swap; ``attempt`` may be called again when an attempt ended without an answer."""

    def __init__(
        self, connection: Connection, root: str, path: str, value: bytes, expected: Record | None
    ) -> None:
        self._connection, self._root, self._path = connection, root, path
        self._value, self._expected = value, expected
        self._deadline = 0.0

    async def attempt(self, timeout: float, unresolved: bool) -> str:
        """Return the new version. Raises Conflict, NotSent, Unavailable or Misconfigured."""
        self._deadline = asyncio.get_running_loop().time() + timeout
        return await self._try(unresolved)

    @property
    def _left(self) -> float:
        """How many seconds this attempt still has."""
        return max(0.001, self._deadline - asyncio.get_running_loop().time())

    async def _try(self, unresolved: bool) -> str:
        expected = self._expected
        seals = () if expected is None else (seal(expected.value),)
        refusal = await self._commit(seals)
        if isinstance(refusal, NoNodeError) and expected is None:
            await make_parents(self._connection, self._path, self._left)
            refusal = await self._commit(seals)
        if refusal is None:
            return self._version
        held, children = await self._look()
        if held is not None and held.value == self._value:
            return held.version
        if seals and held == expected and seals[0] not in children:
            if await self._commit(children) is None:
                return self._version
            unresolved = True  # who changes a register by hand may have done anything
        if unresolved:
            raise Unavailable(f"zookeeper: {self._path} changed, and whether by us is not known")
        found = "nothing" if held is None else f"version {held.version}"
        raise Conflict(f"{self._path} holds {found}")

    @property
    def _version(self) -> str:
        """The version our write gives the register."""
        number = 0 if self._expected is None else int(self._expected.version.partition("-")[0]) + 1
        return version(number, self._value)

    async def _commit(self, seals: Sequence[str]) -> KazooException | None:
        """Send the transaction; return None if it took effect, and what failed in it if it did not."""

        def ask(client: KazooClient) -> Any:
            transaction = client.transaction()
            for old in seals:
                transaction.delete(f"{self._path}/{old}")
            if self._expected is None:
                transaction.create(self._path, self._value)
            else:
                transaction.set_data(self._path, self._value, int(self._expected.version.partition("-")[0]))
            transaction.create(f"{self._path}/{seal(self._value)}")
            return transaction.commit_async()

        try:
            results = await self._connection.call(ask, self._left)
        except _REFUSED as error:
            return error
        failures = [one for one in results if isinstance(one, Exception)]
        causes = [one for one in failures if not isinstance(one, RolledBackError)]
        if not failures:
            return None
        for cause in causes:
            if isinstance(cause, _REFUSED):
                return cause
            if isinstance(meaning := explain(cause, self._root), Misconfigured):
                raise meaning
        raise Unavailable(
            f"zookeeper: the transaction failed: {', '.join(type(one).__name__ for one in failures)}"
        )

    async def _look(self) -> tuple[Record | None, list[str]]:
        """Return what the register holds and its children, at a server that has applied what refused us."""
        try:
            found = await self._connection.call(lambda client: client.get_async(self._path), self._left)
            children = await self._connection.call(
                lambda client: client.get_children_async(self._path), self._left
            )
        except NoNodeError:
            return None, []
        return record(*found), children
