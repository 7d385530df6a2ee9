"""Configurations and scenes that the tests of the rehearsal share."""

from __future__ import annotations

from pathlib import Path

from haagent.core.units import MILLISECOND as MS
from haagent.core.units import SECOND
from haagent.lab.budget import Budget
from haagent.lab.observations import FaultSpan
from haagent.lab.rehearsal.arbitration import Arbitration, arbitration
from haagent.lab.rehearsal.blueprint import Blueprint, draw_up
from haagent.lab.rehearsal.catalogue import entry
from haagent.lab.rehearsal.environment import Environment
from haagent.lab.rehearsal.findings import Findings
from haagent.lab.rehearsal.reporting import PlanLine, Report
from haagent.lab.rehearsal.running import Rehearsal, Scene, Seen, Skipped
from haagent.lab.rehearsal.sources import NodeSource, read_sources
from haagent.lab.rehearsal.stubs import Notification
from haagent.lab.verdict import FaultVerdict, Interval, Verdict

PAIR = """
global_defs {
    router_id a#b
    smtp_server 192.0.2.25
    notification_email { ops@example.org }
}
vrrp_script check {
    script "/usr/local/bin/check --deep"
    interval 2
    weight -20
    user nobody
}
vrrp_instance web {
    state BACKUP
    interface bond0.7
    virtual_router_id 51
    @a priority 150
    @b priority 120
    advert_int 1
    use_vmac
    virtual_ipaddress {
        192.0.2.100/24
        192.0.2.101/24
    }
    track_script {
        check
    }
    notify_master "/usr/local/bin/tell master"
}
virtual_server 192.0.2.100 80 {
    protocol TCP
}
"""
UNICAST = """
vrrp_instance db {
    interface ens3
    virtual_router_id 7
    priority 100
    unicast_src_ip 10.1.0.2
    unicast_peer {
        10.1.0.3
        10.1.0.4
    }
    virtual_ipaddress {
        10.1.0.50/32
    }
}
"""
ARBITER = """
arbiter zookeeper {
    endpoints 10.9.0.1:2181 10.9.0.2:2181 10.9.0.3:2181
    domain shop
    lease 2s
    ca /etc/nowhere/ca.pem
}
peers {
    key_file /etc/nowhere/peers.key
    node a 192.0.2.31 198.51.100.31
    node b 192.0.2.32 198.51.100.32
}
"""


def read(directory: Path, *texts: str) -> tuple[tuple[NodeSource, ...], Findings]:
    """Return the sources of these files."""
    key = directory / "lab.key"
    key.write_text("k" * 32)
    key.chmod(0o600)
    paths = []
    for number, text in enumerate(texts):
        paths.append(directory / f"{number}.conf")
        paths[-1].write_text(text)
    findings = Findings()
    return read_sources(paths, {}, key, findings), findings


def blueprint(directory: Path, *texts: str) -> tuple[Blueprint, Arbitration, Findings]:
    """Return what would be built."""
    sources, findings = read(directory, *texts)
    decided = arbitration(sources, None, findings)
    return draw_up(sources, findings), decided, findings


def scene(number: int, name: str, *, dual: int = 0, outage: int = 0, place: int = 0) -> Scene:
    """Return a fault at 10 s for 3 s that did this."""
    span = FaultSpan(name, "a", 10 * SECOND, 13 * SECOND, "something <broke> & healed")
    fault = FaultVerdict(span, dual, outage, 0, "a", "b", 300 * MS)
    verdict = Verdict(
        nodes=("a", "b"),
        begin=9 * SECOND,
        end=16 * SECOND,
        lanes={
            "a": (Interval(9 * SECOND, 10 * SECOND),),
            "b": (Interval(10 * SECOND + outage, 16 * SECOND),),
        },
        presence={},
        dual=(Interval(10 * SECOND, 10 * SECOND + dual),) if dual else (),
        outages=(Interval(10 * SECOND, 10 * SECOND + outage),) if outage else (),
        faults=(fault,),
        rounds=350,
        requests=1400,
    )
    return Scene(
        number=number, place=place or number, entry=entry(name), target="a", description="something <broke> & healed",
        begin=9 * SECOND, end=16 * SECOND, span=span, seen={"web": Seen(verdict)},
        gates={"a": (Interval(9 * SECOND, 10 * SECOND),), "b": (Interval(10 * SECOND, 16 * SECOND),)},
        arbiter=(Interval(9 * SECOND, 16 * SECOND),),
        notified={"b": (Notification(10 * SECOND + 400 * MS, 8, ("notify", "INSTANCE", "web", "MASTER", "100")),)},
        budget=Budget(SECOND, 30 * MS), slack=500 * MS, settled=2 * SECOND,
        failure=f"two owners of web for {dual // MS} ms" if dual else "",
    )  # fmt: skip


def report(directory: Path) -> Report:
    """Return a report of haagent and keepalived, with everything a page can show."""
    built, _, findings = blueprint(directory, PAIR, ARBITER)
    first = Rehearsal("haagent", [scene(1, "kill", outage=240 * MS), scene(2, "freeze", outage=2 * SECOND)])
    first.skipped.append(Skipped(entry("ring"), "takes three nodes"))
    other = Rehearsal("keepalived", [scene(1, "kill", dual=2 * SECOND)])
    return Report(
        played=(first, other),
        plan=(PlanLine("agent killed or hung, host alive", SECOND, None, "keepalived: both answer"),),
        findings=findings.in_order(),
        sources=(("a", "the @a lines"), ("b", "the @b lines")),
        blueprint=built,
        arbiter="zookeeper",
        again="haagent rehearse -f 'x.conf' --seed 7",
        seed=7,
        slack=500 * MS,
        began="2030-01-01 00:00",
        environment=Environment((("kernel", "6.1"),)),
    )
