"""What clients see when the PostgreSQL that arbitrates hangs, restarts, or is taken over by a standby.

Two agents, three servers in namespaces of their own, no failsafe: only the arbiter keeps the address up.
"""

from __future__ import annotations

import time

import pytest
from agent_lab import eventually, ms
from test_agent_quorum import ArbiterLab, arbiter_lab

from haagent.lab.members import ServerError
from haagent.lab.postgresql import PostgresqlServers, require_postgresql

pytestmark = [pytest.mark.netns, pytest.mark.postgresql]


@pytest.fixture(autouse=True, scope="module")
def _servers() -> None:
    try:
        require_postgresql()
    except ServerError as error:
        pytest.skip(str(error))


def block(lab: ArbiterLab, servers: PostgresqlServers) -> str:
    """Return the arbiter block that names every server."""
    password = lab.topology.workdir / "postgresql.password"
    password.write_text(servers.options.password)
    password.chmod(0o600)
    words = {**servers.settings, "password_file": str(password), "lease": "6s"}
    lines = "".join(f"    {word} {value}\n" for word, value in words.items())
    return f"arbiter postgresql {{\n    endpoints {' '.join(servers.endpoints)}\n{lines}}}\n"


def test_a_pair_lives_through_a_restart_and_a_failover_of_its_database():
    with arbiter_lab() as lab, PostgresqlServers([lab.site(n) for n in range(3)]) as servers:
        primary = servers.members[0]
        for name in ("node1", "node2"):
            lab.agent(name, addition=block(lab, servers))
        lab.wait_owner("node1", patience=30)
        lab.unnoticed("primary frozen", lambda: servers.freeze(primary))
        lab.unnoticed("primary thawed", lambda: servers.thaw(primary))
        lab.unnoticed("primary killed and started again", lambda: servers.restart(primary))
        before, epoch = time.monotonic_ns(), lab.daemons["node1"].instance()["epoch"]
        servers.kill(primary)
        servers.promote(servers.most_advanced())
        time.sleep(4)
        lab.wait_owner("node1", patience=20)
        print(f"failover to the standby: longest outage {ms(lab.outage(before))}")
        before = time.monotonic_ns()
        node1 = lab.daemons["node1"]
        assert node1.process is not None
        node1.process.kill()
        lab.wait_owner("node2", patience=20)
        print(f"MASTER killed afterwards: replaced after {ms(lab.outage(before))}")
        eventually(lambda: lab.daemons["node2"].instance()["epoch"] > epoch)
        assert lab.dual() == 0
