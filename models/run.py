#!/usr/bin/env python3
"""Check the arbitration model with spin: the rules must hold, the planted defects must be caught.

Promises: every run happens in a temporary directory that is removed; nothing is written elsewhere. A line per
run says what was expected and what spin found. Exit status 0: all as expected; 1: not; 2: spin or gcc missing.

    models/run.py --quick               the bounded set that CI runs
    models/run.py --full                all of it, with three nodes (minutes, about 4 GB)
    models/run.py --mutation NAME       one planted defect or variant; prints its counterexample in words
    models/run.py --list                names, and what each stands for
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

MODEL = Path(__file__).resolve().parent / "arbitration.pml"


class Expect(Enum):
    """What a run must find."""

    HOLDS = "holds"
    EXCL = "EXCL broken"
    FENCE = "FENCE broken"
    REACHED = "reached"


class Search(Enum):
    """How pan searches: the compiler's macros."""

    EXHAUSTIVE = ()
    SHORTEST = ("-DBFS",)
    BITSTATE = ("-DBITSTATE",)


@dataclass(frozen=True, slots=True)
class Run:
    """One configuration of the model; ``macros`` are given to spin's preprocessor without ``-D``."""

    name: str
    about: str
    expect: Expect
    macros: tuple[str, ...]
    search: Search
    quick: bool = True
    limit: float = 600  # seconds; a sample ends by it


@dataclass(frozen=True, slots=True)
class Outcome:
    """What spin found: ``broken`` is the violated assertion, ``complete`` false if the search was cut short."""

    run: Run
    broken: str | None
    complete: bool
    states: int
    depth: int
    seconds: float  # of one core
    words: tuple[str, ...] = ()

    @property
    def found(self) -> Expect | None:
        """The outcome in the terms of ``Expect``; None for an assertion of another kind or an unfinished search."""
        if self.broken is None:
            return Expect.HOLDS if self.complete else None
        if self.run.expect is Expect.REACHED:
            return Expect.REACHED
        if "n<=1" in self.broken:
            return Expect.EXCL
        return Expect.FENCE if "top_opened" in self.broken else None

    @property
    def as_expected(self) -> bool:
        return self.found is self.run.expect


# No crash / one restart per node; one tick is enough for rules that do not depend on lateness.
CALM = ("MAXINC=1", "MAXEP=2")
CRASH = ("MAXINC=2", "MAXEP=2")
# The contender may restart, the holder does not: most of the same runs for a third of the states.
RESTART = (*CRASH, "NODE_0_STAYS", "L=1")
STRICT = "NO_FAILSAFE"
# Node 0 once stands still with its clocks. What it asks for afterwards must be as good as ever; see the model.
STOPPED = ("MAXEP=2", "L=1", "STOPS=1", "ONLY_EXCL")
# The claim's record alone is deleted, once: under its first holder, or after somebody took a released claim.
NAMED = ("MAXINC=1", "L=1", STRICT, "ONLY_EXCL", "NO_DOUBT", "WIPES=1", "CLAIM_ONLY", "VAR_NAMES")
NAMED_WON = ("MAXEP=2", "START_WON", *NAMED)
NAMED_FREE = ("MAXEP=3", "START_RELEASED", "NO_ENDS", *NAMED)
# The store is put back to its backup after it was away for W.
OUTAGE_ENDS = ("MAXINC=1", "MAXEP=2", "L=1", STRICT, "ONLY_EXCL", "NO_DOUBT", "START_RELEASED", "VAR_ROLLBACK", "VAR_OUTAGE",
               "VAR_LAPSE_LETS_GO")  # fmt: skip
OUTAGE = ("NO_ENDS", *OUTAGE_ENDS)
HEARTBEAT = ("MAXINC=1", "MAXEP=3", STRICT, "VAR_PLAIN_HEARTBEAT")
RELOAD = (*CALM, STRICT, "VAR_RELOAD")
RESUME = (*CRASH, "L=1", STRICT, "VAR_RESUME", "NO_CRASH")


def _holds(name: str, about: str, *macros: str, quick: bool = True) -> Run:
    return Run(name, about, Expect.HOLDS, macros, Search.EXHAUSTIVE, quick)


def _breaks(name: str, about: str, *macros: str, expect: Expect = Expect.EXCL, quick: bool = True) -> Run:
    return Run(name, about, expect, macros, Search.SHORTEST, quick)


def _reaches(name: str, about: str, *macros: str) -> Run:
    return Run(name, about, Expect.REACHED, macros, Search.SHORTEST)


RULES = (
    _holds("failsafe", "two nodes, promises, no crash", *CALM),
    _holds("strict", "two nodes, arbiter only, a swap delayed past its sender's next", *CALM, STRICT, "LATE"),
    _holds("crash", "two nodes, promises, each may restart once, L = 1", *CRASH, "L=1", quick=False),
    _holds("restart", "as crash, but node 0 stays", *RESTART),
    _holds("wipe", "arbiter only, the whole store wiped once, node 1 may restart", *RESTART, STRICT, "WIPES=1"),
    _holds("wipe-failsafe", "promises, the whole store wiped once, L = 1", *CALM, "L=1", "WIPES=1"),
    _holds("stopped-clock", "promises, node 0 once stands still with its clocks", "MAXINC=1", *STOPPED, quick=False),
    _holds("stopped-clock-restart", "... and node 1 may restart", *RESTART, *STOPPED, quick=False),
    _holds("plain-heartbeat", "sessions are plain writes of one writer, and nobody can end them", *HEARTBEAT),
    _holds("reload", "node 0's lease is shortened once", *RELOAD, quick=False),
    _holds("resume", "one worker is resumed; new sessions", *RESUME, quick=False),
    _holds("claim-deleted+named", "the claim's record alone is deleted under a holder that has just won; it is taken when every "
           "other session is cleared", *NAMED_WON, quick=False),
    _holds("claim-deleted+deferred", "... after node 1 took a released claim, with its swap beside writes of its session",
           *NAMED_FREE),
    _holds("restored", "the store is put back to a backup after it was away for W; reads show the lost history",
           *OUTAGE),
    _holds("restored+ends", "... and sessions are ended", *OUTAGE_ENDS, quick=False),
    _holds("crash-2", "as restart, L = 2", *CRASH, "NODE_0_STAYS", quick=False),
    _holds("late", "promises, and a swap delayed past its sender's next, L = 1", *CALM, "L=1", "LATE", quick=False),
    _holds("bids", "as strict, with bids", *CALM, STRICT, "LATE", "BIDS", quick=False),
    _holds("wipe-crash", "as wipe, and each may restart once", *CRASH, "L=1", STRICT, "WIPES=1", quick=False),
    Run("three", "three nodes, restarts, late swap (bitstate: a sample of two minutes)", Expect.HOLDS,
        ("N=3", "MAXINC=2", "MAXEP=3", "LATE"), Search.BITSTATE, quick=False, limit=120),
    Run("three-deleted", "three nodes, the claim's record alone is deleted (bitstate: a sample of two minutes)", Expect.HOLDS,
        ("N=3", *NAMED_WON), Search.BITSTATE, quick=False, limit=120),
)  # fmt: skip

REACHABLE = (
    _reaches("takeover", "an ended session's claim is taken and acted on", "REACH_TAKEOVER", *CALM),
    _reaches("handover", "a released claim moves while both sessions live", "REACH_HANDOVER", *CALM),
    _reaches("failsafe-extends", "promises alone move an open gate's deadline", "REACH_FAILSAFE", *CALM),
    _reaches("own-restart", "a restarted holder goes on at once", "REACH_OWN_RESTART", *CRASH, STRICT),
    _reaches("after-wipe", "the claim is held again after a wipe", "REACH_AFTER_WIPE", *CRASH, "L=1", STRICT, "WIPES=1"),
    _reaches("revival", "a lapsed holder's next renewal counts", "REACH_REVIVAL", *CALM, STRICT),
)  # fmt: skip

LATE_PROMISE = "MUT_LATE_PROMISE"
DEFECTS = (
    _breaks("wait-shorter-than-lease", "W < L", "MUT_WAIT_SHORT", *CALM, STRICT),
    _breaks("reply-time", "the deadline counts from the reply", "MUT_REPLY_TIME", *CALM, STRICT),
    _breaks("missing-is-free", "a missing record is taken as free", "MUT_MISSING_IS_FREE", *CALM, STRICT, "WIPES=1"),
    _breaks("late-success", "a success that comes after the deadline counts (sessions as plain heartbeats)",
            "MUT_LATE_RENEWAL", *HEARTBEAT),
    _breaks("late-promise", "promises complete after the deadline count", LATE_PROMISE, *CALM, expect=Expect.FENCE),
    _breaks("refuse-only-open", "a peer refuses only while its gate is open", "MUT_REFUSE_ONLY_WHILE_OPEN",
            "MAXINC=1", *STOPPED),
    _breaks("resets-observation", "a promise only restarts the observation", "MUT_PROMISE_RESETS_OBSERVATION",
            "MAXINC=1", *STOPPED),
    _breaks("stale-read-denies", "a stale read settles that a claim swap did not happen", "MUT_STALE_READ_DENIES",
            "MAXINC=1", *STOPPED),
    _breaks("take-in-first-w", "a restarted node takes a claim at once, whatever it promised", "MUT_TAKE_IN_FIRST_W",
            *RESTART, *STOPPED, quick=False),
    _breaks("release-before-close", "the claim is released before the gate is closed", "MUT_RELEASE_BEFORE_CLOSE",
            *CALM, STRICT),
    _breaks("no-nonce", "grants of an older request count for a newer one", "MUT_NO_NONCE", *CALM),
    _breaks("other-incarnation-is-ended", "an unequal incarnation in a stale session record means ended",
            "MUT_OTHER_INC_IS_ENDED", "MAXINC=2", "MAXEP=3", STRICT),
    _breaks("record-says-less", "a reload shortens the lease in the record at once", "MUT_RECORD_SAYS_LESS", *RELOAD),
    _breaks("inherits-blindly", "a resumed worker leaves the flag of the one before it", "MUT_INHERITS_BLINDLY", *RESUME),
    _breaks("keep-incarnation", "a resumed worker goes on although its gate is closed", "VAR_KEEP_INCARNATION",
            *CRASH, STRICT),
    _breaks("named-is-taken", "a missing claim is taken although a living session names it", "MUT_NAMED_IS_TAKEN",
            *NAMED_FREE),
    _breaks("take-overtakes", "a TAKE overtakes the session write that names it", "MUT_TAKE_OVERTAKES", *NAMED_FREE),
    _breaks("names-only-held", "a session names only what it holds, not what it may have won", "MUT_NAMES_ONLY_HELD",
            *NAMED_FREE),
    _breaks("vacant-goes-on", "a vacant record counts as going on from a held one", "MUT_VACANT_GOES_ON", "VAR_MADE_VACANT",
            "NO_ENDS", *NAMED_WON),
    _breaks("read-is-a-win", "a read counts as a win", "MUT_READ_IS_A_WIN", *OUTAGE),
)  # fmt: skip

# Two rules cover for each other: either may be left out, both may not. A rule of a pair is load-bearing as long as its
# twin is not relied on, so the loss of each is caught by the pair's name.
PAIRS = (
    _holds("alone:late-promise", "late promises count: EXCL holds (FENCE does not)", LATE_PROMISE, "ONLY_EXCL",
           *CALM, quick=False),
    _holds("alone:refuse-only-open", "while clocks run, EXCL holds", "MUT_REFUSE_ONLY_WHILE_OPEN", *CALM, quick=False),
    _holds("alone:resets-observation", "while clocks run, EXCL holds", "MUT_PROMISE_RESETS_OBSERVATION", *CALM,
           quick=False),
    _holds("alone:stale-read-denies", "while clocks run, EXCL holds", "MUT_STALE_READ_DENIES", *CALM, quick=False),
    _breaks("late-promise+refuse-only-open", "both", LATE_PROMISE, "MUT_REFUSE_ONLY_WHILE_OPEN", *CALM, quick=False),
    _breaks("late-promise+resets-observation", "both", LATE_PROMISE, "MUT_PROMISE_RESETS_OBSERVATION", *CALM,
            quick=False),
    _breaks("late-promise+stale-read-denies", "both", LATE_PROMISE, "MUT_STALE_READ_DENIES", "ONLY_EXCL", *CALM,
            quick=False),
    _holds("alone:take-in-first-w", "while clocks run, EXCL holds", "MUT_TAKE_IN_FIRST_W", *RESTART, quick=False),
    _breaks("promised-may-end+take-in-first-w", "a promised node ends the session, restarts, takes the claim",
            "VAR_PROMISED_MAY_END", "MUT_TAKE_IN_FIRST_W", *CRASH, quick=False),
    _holds("alone:late-renewal", "a late success of a renewal counts: safe for compare-and-swap registers",
           "MUT_LATE_RENEWAL", *CALM, STRICT, quick=False),
    _holds("alone:grant-in-first-w", "a restarted node promises at once: a promise binds against its own old claim",
           "MUT_GRANT_IN_FIRST_W", *RESTART, *STOPPED, quick=False),
)  # fmt: skip

VARIANTS = (
    _breaks("late-win", "a TAKE whose success comes after the deadline counts; the store is then put back to a backup",
            "MUT_LATE_WIN", *OUTAGE),
    _breaks("late-win+first-look", "... or it is the first look after W that shows a session which does not name the claim",
            "MUT_LATE_WIN", "VAR_FIRST_LOOK", "VAR_LAPSE_LETS_GO", "NO_ENDS", *NAMED_WON),
    _holds("first-look", "... alone: a success that comes after the deadline does not count, L = 2", "VAR_FIRST_LOOK",
           "VAR_LAPSE_LETS_GO", "NO_ENDS", "L=2", *(macro for macro in NAMED_WON if macro != "L=1"), quick=False),
    _breaks("rollback", "the store is put back to a backup", "VAR_ROLLBACK", *CALM, STRICT),
    _breaks("rollback-old", "... older than every node's last renewal", "VAR_ROLLBACK", "VAR_ROLLBACK_OLD",
            *CALM, STRICT, quick=False),
    _holds("rollback+identity", "... versions name the store, and a new store is waited out like a start",
           "VAR_ROLLBACK", "VAR_STORE_IDENTITY", "VAR_OWN_AFTER_W", *RESTART, "NO_CRASH", STRICT, quick=False),
)  # fmt: skip

ALL = (*RULES, *REACHABLE, *DEFECTS, *PAIRS, *VARIANTS)


def _call(command: Sequence[str], where: Path, *, timeout: float = 60) -> str:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed with status {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def _search(command: Sequence[str], where: Path) -> tuple[str, float]:
    """Run pan; return what it printed and how long it kept a core busy: a busy machine does not change that much."""
    with (where / "found.txt").open("w+") as printed:
        pan = subprocess.Popen(command, cwd=where, stdout=printed, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(pan.pid, 0)
        pan.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        return printed.read(), used.ru_utime + used.ru_stime


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    return int(float(match.group(1))) if match else 0


def _words(macros: Sequence[str], where: Path) -> tuple[str, ...]:
    """Replay the trail: the model's own sentences, one per step."""
    replay = _call(["spin", *macros, "-t", "-B", MODEL.name], where)
    noise = re.compile(r"^\s*(spin:|#process|\d+ process|$)")
    return tuple(line.strip() for line in replay.splitlines() if not noise.match(line))


def check(run: Run, *, limit: float = 600) -> Outcome:
    """Generate, compile and run the verifier for one configuration; ``limit`` is in seconds."""
    macros = [f"-D{macro}" for macro in run.macros]
    with tempfile.TemporaryDirectory(prefix="arbitration-") as name:
        where = Path(name)
        for part in MODEL.parent.glob("*.pml"):
            shutil.copy(part, where)
        _call(["spin", *macros, "-a", MODEL.name], where)
        # Half of a short search's time is gcc's: -O2 pays only where the search is long.
        effort = "-O1" if run.search is Search.SHORTEST else "-O2"
        flags = [effort, "-DSAFETY", "-DNOREDUCE", "-DMEMLIM=4000", "-DVECTORSZ=1024", *run.search.value]
        _call(["gcc", *flags, "-o", "pan", "pan.c"], where, timeout=600)  # a busy machine compiles slowly
        # -E: a state in which nothing can happen is no error. -w: hash table, for bitstate the bit array.
        size = ["-w32", "-k3"] if run.search is Search.BITSTATE else ["-w22"]
        command = ["timeout", "--signal=INT", str(min(limit, run.limit)), "./pan", "-E", "-m400000", *size]
        text, seconds = _search(command, where)
        broken = re.search(r"assertion violated (.*) \(at depth", text)
        cut = (
            "Search not completed" in text or "max search depth too small" in text or "errors: 0" not in text
        )
        return Outcome(
            run=run,
            broken=broken.group(1) if broken else None,
            # A bitstate run is a sample by nature: it may end by the clock, as long as it looked at something.
            complete=not cut or (run.search is Search.BITSTATE and "errors: 0" in text),
            states=_number(r"([\d.e+]+) states, stored", text),
            depth=_number(r"depth reached (\d+)", text),
            seconds=seconds,
            words=_words(macros, where) if broken else (),
        )


def check_all(runs: Iterable[Run], *, jobs: int = 2, limit: float = 600) -> list[Outcome]:
    """Check several configurations, ``jobs`` at a time, and print a line for each as it ends."""
    outcomes = []
    with ThreadPoolExecutor(jobs) as pool:
        print(f"{'':4} {'run':33} {'expected':12} {'found':12} {'states':>10} {'depth':>7} {'s':>6}")
        for outcome in pool.map(lambda run: check(run, limit=limit), runs):
            found = outcome.found.value if outcome.found else (outcome.broken or "unfinished")
            print(
                f"{'ok' if outcome.as_expected else 'BAD':4} {outcome.run.name:33} {outcome.run.expect.value:12} "
                f"{found:12} {outcome.states:>10} {outcome.depth:>7} {outcome.seconds:>6.1f}",
                flush=True,
            )
            outcomes.append(outcome)
    return outcomes


def _list() -> None:
    for run in ALL:
        print(f"{run.name:33} {run.expect.value:13} {run.about}")


def _one(name: str, limit: float) -> list[Outcome]:
    runs = [run for run in ALL if run.name == name]
    if not runs:
        sys.exit(f"--mutation {name}: no such run; accepted: {', '.join(run.name for run in ALL)}")
    outcomes = check_all(runs, limit=limit)
    print(f"\n{runs[0].about}\n")
    for word in outcomes[0].words:
        print(f"    {word}")
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--quick", action="store_true", help="the bounded set for CI")
    what.add_argument("--full", action="store_true", help="everything")
    what.add_argument("--mutation", metavar="NAME", help="one run, with its counterexample in words")
    what.add_argument("--list", action="store_true", help="the names")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default 2)")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one run (default 600)")
    options = parser.parse_args(arguments)
    if options.list:
        _list()
        return 0
    for tool in ("spin", "gcc", "timeout"):
        if shutil.which(tool) is None:
            print(f"{tool} is not installed; on Debian: apt install spin gcc coreutils", file=sys.stderr)
            return 2
    if options.mutation:
        outcomes = _one(options.mutation, options.limit)
    else:
        outcomes = check_all(
            [r for r in ALL if options.full or r.quick], jobs=options.jobs, limit=options.limit
        )
    return 0 if all(outcome.as_expected for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
