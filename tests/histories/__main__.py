"""Campaigns from the command line; see ``--help``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from haagent.cli.building import clean_exit
from haagent.lab.members import ServerError
from tests.histories.backends import BACKENDS
from tests.histories.campaign import run

EVIDENCE = 3  # violations that are printed


def main() -> int:
    """Run the campaigns asked for, one after the other; return 1 if any history was impossible."""
    parser = argparse.ArgumentParser(prog="python -m tests.histories", description=__doc__)
    parser.add_argument(
        "--arbiter", action="append", choices=tuple(BACKENDS), help="repeatable; default: all"
    )
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=20.0, help="per arbiter, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pace", type=float, default=2.0, help="times 0.5 to 2 s between faults")
    parser.add_argument("--out", type=Path, help="where an impossible history is written")
    words = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    return max(_campaign(kind, words) for kind in words.arbiter or BACKENDS)


def _campaign(kind: str, words: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix=f"haagent-histories-{kind}-") as directory:
        try:
            result = asyncio.run(
                run(kind, Path(directory), words.operations, words.minutes * 60, words.seed, words.pace)
            )
        except ServerError as error:
            print(f"{kind}: not run: {error}", flush=True)
            return 0
    print(result, flush=True)
    print(f"  faults: {', '.join(f'{n} x {name}' for name, n in sorted(result.faults.items()))}", flush=True)
    for violation in result.violations[:EVIDENCE]:
        print(f"  {violation}")
    if result.violations and words.out is not None:
        words.out.mkdir(parents=True, exist_ok=True)
        (words.out / f"{kind}.history").write_text("\n".join(result.history.lines()))
    return 1 if result.violations else 0


if __name__ == "__main__":
    with clean_exit("histories"):
        sys.exit(main())
