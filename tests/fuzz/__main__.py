"""``python -m tests.fuzz --inputs N``: a campaign over all targets, each in a process of its own.

Each target gets its share of the inputs, starts from its seeds and keeps what it learned in ``--corpus`` (nothing is kept
without). Prints a line per target. Exit status: 0 nothing found; 1 a finding, whose input is written to ``--out``; 2 it
could not be run. ``--replay TARGET FILE`` runs one input again without the fuzzer.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 10  # s one input may take: more is a finding, too
MEMORY = 2048  # MiB


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--inputs", type=int, default=200_000, help="over all targets (default 200000)")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one; repeatable")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="keep what was learned in this directory")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "fuzz", help="where findings go")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"))
    arguments = parser.parse_args()
    if arguments.replay:
        TARGETS[arguments.replay[0]].run(Path(arguments.replay[1]).read_bytes())
        return 0
    return campaign(arguments)


def campaign(arguments: argparse.Namespace) -> int:
    """Run every target; return the exit status."""
    names = arguments.target or list(TARGETS)
    shares = sum(TARGETS[name].share for name in names)
    arguments.out.mkdir(parents=True, exist_ok=True)
    status = 0
    for name in names:
        inputs = max(1, arguments.inputs * TARGETS[name].share // shares)
        status = max(status, one(name, inputs, arguments))
    return status


def one(name: str, inputs: int, arguments: argparse.Namespace) -> int:
    """Fuzz one target in a process of its own and print a line; return its exit status."""
    target, begun = TARGETS[name], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="haagent-fuzz-") as scratch:
        corpus = (arguments.corpus or Path(scratch)) / name
        seeds, words = Path(scratch) / "seeds", Path(scratch) / "words"
        for directory in (corpus, seeds):
            directory.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(target.seeds()):
            (seeds / str(number)).write_bytes(seed)
        words.write_text("".join(f'"{word}"\n' for word in target.words))
        options = [f"-runs={inputs}", f"-seed={arguments.seed}", f"-max_len={target.longest}", "-verbosity=1"]
        options += [
            f"-timeout={PATIENCE}",
            f"-rss_limit_mb={MEMORY}",
            f"-artifact_prefix={arguments.out}/{name}-",
        ]
        options += [f"-dict={words}"] if target.words else []
        command = [sys.executable, "-m", "tests.fuzz.worker", name, *options, str(corpus), str(seeds)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    took = time.monotonic() - begun
    ran = max(
        (
            int(count)
            for count in re.findall(r"Done (\d+) runs|^#(\d+)", done.stderr)
            for count in count
            if count
        ),
        default=0,
    )
    print(
        f"{name:14} {ran:>9} inputs {took:7.1f} s  {'nothing found' if not done.returncode else 'FINDING'}",
        flush=True,
    )
    if done.returncode:
        print(done.stderr[-4000:], file=sys.stderr)
        return 1
    return 0 if ran >= inputs else 2


if __name__ == "__main__":
    raise SystemExit(main())
