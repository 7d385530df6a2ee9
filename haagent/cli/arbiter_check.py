"""``haagent arbiter check``: tries the arbiter that a configuration or a URL names, and says what leases it allows.

Formats what haagent.conformance.probe finds; decides nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from haagent.agent.parameters import Timing
from haagent.agent.proposal import propose
from haagent.arbiter import Misconfigured
from haagent.cli.asking import fail
from haagent.cli.configuration_options import file_option
from haagent.cli.render import bold, table
from haagent.cli.status import show, show_json
from haagent.config.arbiters import parse_arbiter
from haagent.config.load import load
from haagent.config.messages import ConfigErrors
from haagent.config.model import ArbiterConfig
from haagent.conformance.probe import Finding, Latencies, Report, Verdict, probe
from haagent.conformance.scratch import Target
from haagent.control.words import duration
from haagent.core.observation import patience
from haagent.core.units import MILLISECOND, SECOND
from haagent.effects.arbitration import arbiter_options
from haagent.effects.plugins import find_plugin, load_plugin
from haagent.errors import EX_CONFIG, EX_UNAVAILABLE, ConfigError, HaagentError

EXIT_BROKEN = 1
NODE = "a"  # as which the scratch domains are opened; voting files are made for it
COLOURS = {Verdict.PASSED: "green", Verdict.FAILED: "red", Verdict.NOT_TRIED: "yellow"}


@click.command("check")
@click.argument("url", required=False)
@file_option("Without URL: try the arbiter of this configuration; repeatable.")
@click.option(
    "--seconds", type=click.FloatRange(2, 600), default=20.0, show_default=True, help="About how long."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; times in nanoseconds.")
def check_arbiter(url: str | None, files: tuple[str, ...], seconds: float, *, as_json: bool) -> None:
    """Try an arbiter: the contract, concurrent swaps, latency, lost connections; propose lease, renew and guard.

    Works in scratch domains (check-...) and removes them; the configured domain is not touched, so the agents may go on.
    Run it from a node, as the user of the agent. Exit status: 0 nothing is wrong, 1 something is, 69 it cannot be
    reached, 78 it cannot be used.
    """
    try:
        target = _target(_configured(url, files))
        report = asyncio.run(probe(target, seconds))
    except (ConfigErrors, Misconfigured) as error:
        fail(str(error), EX_CONFIG)
    except HaagentError as error:
        fail(str(error), error.exit_code)
    timings = {mode: _proposal(report, failsafe=mode == "failsafe") for mode in ("release", "failsafe")}
    if as_json:
        show_json(
            {
                **dataclasses.asdict(report),
                "proposal": {k: t and dataclasses.asdict(t) for k, t in timings.items()},
            }
        )
    else:
        show([*_lines(report), *_proposals(timings)])
    if report.failed:
        sys.exit(EX_UNAVAILABLE if _unreachable(report) else EXIT_BROKEN)


def _configured(url: str | None, files: tuple[str, ...]) -> ArbiterConfig:
    if url is not None:
        found: ArbiterConfig | None = parse_arbiter(url)
    else:
        found = load([Path(name) for name in files]).arbiter
    if found is None or found.kind == "none":
        raise ConfigError(
            "no arbiter to check",
            remedy="a URL such as etcd://HOST:2379/DOMAIN, or a file with an arbiter block",
        )
    return found


def _target(config: ArbiterConfig) -> Target:
    kinds = {config.kind, *(member.kind for member in config.members)}
    openings = {kind: load_plugin(find_plugin(kind)) for kind in kinds}
    lease = config.lease or SECOND
    return Target(config.kind, arbiter_options(config, NODE, lease, lease), openings)


def _unreachable(report: Report) -> bool:
    """Say whether nobody answered at all."""
    return len(report.findings) == 1


def _proposal(report: Report, *, failsafe: bool) -> Timing | None:
    if report.swaps is None or not report.swaps.count or report.failed:
        return None
    longest = max(report.swaps.longest, *(one.answered for one in report.recoveries), 0)
    lost = max((one.failed for one in report.recoveries), default=0)
    return propose(report.swaps.p99, longest, lost, failsafe=failsafe)


def _lines(report: Report) -> Iterator[str]:
    yield bold(f"{report.kind}  {' '.join(report.endpoints)}")
    for one in report.findings:
        yield from _finding(one)
    measured = [(what, found) for what, found in (("swap", report.swaps), ("read", report.reads)) if found]
    if measured:
        yield ""
        yield from table(
            [("  LATENCY", "P50", "P99", "LONGEST", "CALLS"), *(_latency(*one) for one in measured)]
        )
    for lost in report.recoveries:
        words = f"{lost.failed} calls failed, the next took {duration(lost.answered)}"
        yield f"  connections lost ({lost.fault}): {words}"
    for what in report.left:
        yield f"  left behind: {what}"


def _finding(one: Finding) -> Iterator[str]:
    yield f"  {click.style(f'{one.verdict.value:<9}', fg=COLOURS[one.verdict])}  {one.what}"
    if one.detail:
        yield click.style(f"{'':<13}{one.detail}", dim=one.verdict is not Verdict.FAILED)


def _latency(what: str, found: Latencies) -> tuple[str, ...]:
    spans = (duration(span) for span in (found.p50, found.p99, found.longest))
    return f"  {what}", *spans, f"{found.count}{f', {found.failed} failed' if found.failed else ''}"


def _proposals(timings: dict[str, Timing | None]) -> Iterator[str]:
    """Yield what a configuration should say."""
    yield ""
    for mode, timing in timings.items():
        if timing is None:
            yield "  no proposal: something is wrong"
            return
        spans = dataclasses.asdict(timing).items()
        words = "  ".join(f"{name} {span // MILLISECOND}ms" for name, span in spans)
        note = f"a dead MASTER's session may be ended after {duration(patience(timing.lease))}"
        yield f"  {mode:<8}  {bold(words)}  ({note})"
    yield "  release: only the arbiter renews; failsafe: with a peers block. Other machines and hours may need more."
