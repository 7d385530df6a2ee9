"""Announces a node by an ephemeral znode ``/haagent/<domain>/nodes/<node>``, for people to look at.

Promises nothing to anybody: no lease, claim or decision rests on it, and a failure to announce is not reported.
"""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import quote

from kazoo.exceptions import KazooException, NodeExistsError

from arbiters.zookeeper.connection import Connection
from arbiters.zookeeper.paths import make_parents
from arbiters.zookeeper.settings import Settings
from haagent.arbiter import ArbiterError

LOOK_EVERY = 2.0  # seconds between looks whether there is a new session to announce
TIMEOUT = 1.0


class Presence:
    """The announcement; a task of its own."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection, self._node = connection, settings.node
        self._path = f"{settings.root}/nodes/{quote(settings.node, safe='@:+=, ')}"
        self._announced = 0
        self._task = asyncio.create_task(self._run(), name="zookeeper-presence")

    async def aclose(self) -> None:
        """End the task; the znode ends with the session."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._connection.connected()
            if self._connection.session != self._announced:
                with contextlib.suppress(ArbiterError, KazooException):
                    await self._announce()
            await asyncio.sleep(LOOK_EVERY)

    async def _announce(self) -> None:
        session = self._connection.session
        await make_parents(self._connection, self._path, TIMEOUT)
        try:
            await self._create()
        except NodeExistsError:  # of our own last session, or of a second node with our name
            _, stat = await self._connection.call(lambda client: client.get_async(self._path), TIMEOUT)
            if stat.ephemeralOwner != session:
                await self._connection.call(lambda client: client.delete_async(self._path), TIMEOUT)
                await self._create()
        self._announced = session

    async def _create(self) -> None:
        await self._connection.call(lambda client: client.create_async(self._path, ephemeral=True), TIMEOUT)
