"""The suite every arbiter must pass.

A plugin's test file is six lines::

    from haagent.testing.contract import ArbiterContract
    from mypackage import open_arbiter

    class TestMyStore(ArbiterContract):
        async def open(self, node):
            return await open_arbiter(self.options(node, endpoints=("127.0.0.1:7000",)))

Needs pytest and pytest-asyncio. Each test works in a domain of its own, so a store may be shared by all of them.
Define ``open_at`` as well, and the suite tries the arbiter on an endpoint that accepts connections and stays silent.
What is tested is ``haagent.conformance.checks``; ``haagent arbiter check`` tries the same on an arbiter that is in use.
"""

from __future__ import annotations

from uuid import uuid4

import pytest

from haagent.arbiter import Arbiter, ArbiterOptions
from haagent.conformance.checks import CHECKS, Check, Opening
from haagent.conformance.demands import (
    HINT,
    LATENESS,
    SHORT,
    TIMEOUT,
    NotTried,
    collect,
    eventually,
    highest_count,
    hint,
    increment,
    silent_server,
    write,
)
from haagent.conformance.workload import unique

__all__ = [
    "HINT",
    "LATENESS",
    "SHORT",
    "TIMEOUT",
    "ArbiterContract",
    "collect",
    "eventually",
    "highest_count",
    "hint",
    "increment",
    "silent_server",
    "unique",
    "write",
]


@pytest.mark.asyncio
class ArbiterContract(Opening):
    """Subclass as ``Test...`` and define ``open``; ``domain`` is fresh in every test."""

    domain: str
    gives_changes = True  # set to False for a store whose ``changes`` yields nothing

    async def open(self, node: str) -> Arbiter:
        """Return a new arbiter of ``self.domain`` for ``node``. The suite closes it."""
        raise NotImplementedError("define open(self, node)")

    async def open_at(self, endpoint: str) -> Arbiter:
        """Return a new arbiter that knows only ``endpoint`` (host:port)."""
        raise NotTried("this arbiter has no network endpoint to try")

    def options(self, node: str, endpoints: tuple[str, ...], **settings: str) -> ArbiterOptions:
        """Return the options haagent would open this test's arbiter with."""
        return ArbiterOptions(endpoints, self.domain, node, lease=2.0, settings=settings)

    @pytest.fixture(autouse=True)
    def _fresh_domain(self) -> None:
        self.domain = f"contract-{uuid4().hex[:12]}"

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    async def test_contract(self, check: Check) -> None:
        """One behaviour; the check's docstring says which."""
        try:
            await check(self)
        except NotTried as reason:
            pytest.skip(str(reason))
