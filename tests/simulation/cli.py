"""The command line of the simulation."""

from __future__ import annotations

import argparse
import sys
import time

from haagent.core.units import SECOND
from tests.simulation import compiled
from tests.simulation.plan import PROFILES, Plan, make_plan
from tests.simulation.runner import Case, run_cases, run_plan, shrink
from tests.simulation.world import Outcome

TELL_EVERY = 60.0  # seconds
JUDGED = tuple(name for name, profile in PROFILES.items() if profile.judged)
LATER = "regrouped"  # has its share of a campaign at the end, so that the other profiles keep the seeds they always had


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return 1 if a seed failed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    if options.compiled:
        plain = [argument for argument in arguments if argument != "--compiled"]
        try:
            return compiled.run(plain)
        except compiled.NotCompiled as error:
            print(f"not compiled, so several times slower: {error}", file=sys.stderr, flush=True)
    if options.replay is not None:
        return _replay(options, JUDGED[0] if options.profile == "all" else options.profile)
    cases = campaign(options.profile, options.first, options.seeds)
    return _run(cases, options.jobs, most=options.failures)


def campaign(profile: str, first: int, seeds: int) -> list[Case]:
    """Return ``seeds`` cases of one profile, or of "all" that are judged, in turn."""
    if profile != "all":
        return [(profile, first + number) for number in range(seeds)]
    in_turn = [name for name in JUDGED if name != LATER]
    share = seeds // len(JUDGED)
    cases = [(in_turn[number % len(in_turn)], first + number) for number in range(seeds - share)]
    return cases + [(LATER, first + number) for number in range(share)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--compiled", action="store_true", help="as machine code, compiled by mypyc if need be"
    )
    parser.add_argument("--profile", choices=(*PROFILES, "all"), default="all", help="how to be cruel")
    parser.add_argument("--failures", type=int, default=5, help="stop after so many")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one seed and print its trace")
    parser.add_argument("--keep", help="with --replay: only the faults of these numbers, as in 0,3,4")
    parser.add_argument(
        "--shrink", action="store_true", help="with --replay: look for the fewest faults first"
    )
    parser.add_argument("--last", type=float, default=3.0, help="seconds of the trace to print; 0: all of it")
    return parser


def _run(cases: list[Case], jobs: int, most: int) -> int:
    begun, simulated, events, clean, failed = time.monotonic(), 0, 0, 0, 0
    told = begun
    for (profile, seed), outcome, length in run_cases(cases, jobs):
        if time.monotonic() > told + TELL_EVERY:
            told = time.monotonic()
            print(f"{clean + failed} of {len(cases)} seeds, {failed} failed", flush=True)
        simulated += length
        events += outcome.events
        if outcome.clean:
            clean += 1
            continue
        failed += 1
        print(f"seed {seed} ({profile}) at {outcome.at / SECOND:.3f} s: {outcome.text}")
        print(f"  replay: {replay_command(profile, seed)}", flush=True)
        if failed >= most:
            break
    took = max(time.monotonic() - begun, 1e-9)
    seconds = simulated / SECOND
    print(
        f"{clean} seeds clean, {failed} failed: {seconds:.0f} simulated seconds, {events} events in {took:.1f} s "
        f"({seconds / took:.0f} simulated seconds, {events / took:.0f} events per second)"
    )
    return 1 if failed else 0


def replay_command(profile: str, seed: int, kept: str = "") -> str:
    """Return the one command that shows a seed again."""
    keep = f" --keep {kept}" if kept else ""
    return f"python -m tests.simulation --profile '{profile}' --replay {seed}{keep}"


def _replay(options: argparse.Namespace, profile: str) -> int:
    plan = make_plan(options.replay, PROFILES[profile])
    kept = tuple(range(len(plan.faults)))
    if options.keep is not None:
        kept = tuple(int(number) for number in options.keep.split(",") if number)
        plan = plan.keeping(kept)
    if options.shrink:
        outcome = run_plan(plan)
        if not outcome.clean:
            fewest = shrink(plan, outcome.check)
            kept = tuple(kept[number] for number in fewest)
            plan = plan.keeping(fewest)
    outcome = run_plan(plan, tracing=True)
    _print_trace(plan, kept, outcome, options.last)
    if options.shrink:
        print(replay_command(profile, options.replay, ",".join(map(str, kept)) or "-1"))
    return 0 if outcome.clean else 1


def _print_trace(plan: Plan, kept: tuple[int, ...], outcome: Outcome, last: float) -> None:
    begin = outcome.at / SECOND - last if last else 0.0
    shown = False
    for line in outcome.trace:
        if line[:1] != " " or line[:12].strip():
            shown = float(line[:12]) >= begin or line[13:14] == "*"
        if shown:
            print(line)
    print(plan.cluster)
    for number, fault in zip(kept, plan.faults, strict=True):
        print(f"{number:3} {fault}")
    print(f"digest {outcome.digest:08x}, {outcome.events} events: {outcome.text or 'clean'}")
