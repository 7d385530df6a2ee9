"""Domains of an arbiter that is in use, for trying things out: made for the purpose and removed afterwards.

Promises never to touch the configured domain, and to say what it could not remove. A domain of an arbiter of voting
files is a set of files of its own, made next to the configured ones; of a quorum, a domain of each member.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from uuid import uuid4

from haagent.arbiter import Arbiter, ArbiterError, ArbiterOptions, Erasable, Misconfigured, OpenArbiter
from haagent.conformance.checks import Opening
from haagent.conformance.demands import NotTried
from haagent.conformance.relay import Relay

FILES = ("file", "shared-file")
NODES = tuple("abcd")
REGISTERS = 24
ERASING = 5.0  # seconds a domain may take to be erased


@dataclass(frozen=True, slots=True)
class Target:
    """An arbiter to be tried: its kind, the options of its real domain, and how each kind in it is opened."""

    kind: str
    options: ArbiterOptions
    openings: Mapping[str, OpenArbiter]

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The host:port of every server; empty for files and for quorums."""
        return () if self.kind in FILES or self.options.members else self.options.endpoints


class Scratch(Opening):
    """A bench on ``target``; ``renew_domain`` gives the next check a domain nobody used."""

    gives_changes = True

    def __init__(self, target: Target) -> None:
        self.target = target
        self._run = uuid4().hex[:8]
        self._numbers = 0
        self._domains: dict[str, ArbiterOptions] = {}
        self._files: set[Path] = set()
        self.renew_domain()

    def renew_domain(self) -> None:
        """Go on in a new domain."""
        self._numbers += 1
        self.domain = f"check-{self._run}-{self._numbers}"

    async def open(self, node: str) -> Arbiter:
        """Return a new arbiter on the scratch domain."""
        return await self._open(self._options(node))

    async def open_at(self, endpoint: str) -> Arbiter:
        """Return a new arbiter on the scratch domain that knows only ``endpoint``. Raises NotTried."""
        if not self.target.endpoints:
            raise NotTried("not one kind of server with a network endpoint")
        return await self._open(replace(self._options("a"), endpoints=(endpoint,)))

    async def open_behind(self, relays: tuple[Relay, ...]) -> Arbiter:
        """Return a new arbiter whose every connection passes one of ``relays``."""
        return await self._open(
            replace(self._options("a"), endpoints=tuple(relay.endpoint for relay in relays))
        )

    async def remove(self) -> tuple[str, ...]:
        """Remove every domain that was used; return those that stay, and why."""
        left = [await self._erase(self.target.kind, options) for options in self._domains.values()]
        for path in self._files:
            path.unlink(missing_ok=True)
        return tuple(dict.fromkeys(reason for reasons in left for reason in reasons))

    async def _open(self, options: ArbiterOptions) -> Arbiter:
        return await self.target.openings[self.target.kind](options)

    def _options(self, node: str) -> ArbiterOptions:
        options = self._moved(self.target.kind, replace(self.target.options, node=node))
        self._domains[self.domain] = options
        return options

    def _moved(self, kind: str, options: ArbiterOptions) -> ArbiterOptions:
        """Return ``options`` on the scratch domain, also those of members."""
        members = tuple((one, self._moved(one, member)) for one, member in options.members)
        moved = replace(options, domain=self.domain, members=members)
        if kind not in FILES:
            return replace(moved, members=tuple((k, replace(m, node=options.node)) for k, m in members))
        return replace(moved, endpoints=self._voting_files(options.endpoints))

    def _voting_files(self, configured: tuple[str, ...]) -> tuple[str, ...]:
        """Return voting files of the scratch domain next to ``configured``, made if they are not there."""
        paths = []
        for name in configured:
            real = Path(name)
            if real.is_block_device():
                raise Misconfigured(
                    f"{name} is a block device: nothing can be tried on it without overwriting it"
                )
            paths.append(real.with_name(f".{real.name}.{self.domain}"))
        if not paths[0].exists():
            making = import_module("arbiters.shared_file.making")  # by name: haagent imports no arbiter
            self._files.update(paths)
            try:
                names = [str(path) for path in paths]
                making.make_all(names, making.plan(names, self.domain, NODES, spare=0, registers=REGISTERS))
            except (OSError, making.CannotMake) as error:
                raise Misconfigured(f"no voting files can be made next to yours: {error}") from error
        return tuple(map(str, paths))

    async def _erase(self, kind: str, options: ArbiterOptions) -> list[str]:
        """Erase one domain, of each member where there are members; return what stays."""
        if kind in FILES:
            return []  # the files are removed
        if options.members:
            return [reason for one, member in options.members for reason in await self._erase(one, member)]
        arbiter: Arbiter | None = None
        try:
            async with asyncio.timeout(ERASING):
                arbiter = await self.target.openings[kind](options)
                if not isinstance(arbiter, Erasable):
                    return [
                        f"{kind}: domains check-{self._run}-*; this arbiter cannot erase: remove them by hand"
                    ]
                await arbiter.erase()
        except (ArbiterError, TimeoutError) as error:
            return [f"{kind}: domains check-{self._run}-*: {error or 'no answer'}"]
        finally:
            if arbiter is not None:
                with contextlib.suppress(Exception):
                    await arbiter.aclose()
        return []
