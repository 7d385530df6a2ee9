"""The deployment of compose/ on real containers, and nothing left of it afterwards; see ``--help``.

Exit status: 0 good, or neither an engine nor the images can be had here (the sample only: it is skipped, and says why);
1 a failure; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from haagent.cli.building import clean_exit
from haagent.lab.namespaces import LabError
from tests.containers import images
from tests.containers.campaign import PROFILES, Row, needs_zookeeper, play, run_to_end, table
from tests.containers.engine import Engine, NoEngineError, call, private_engine

SAMPLE = "tests/partition/test_compose.py"
INSTALL = 600  # s


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is done, and afterwards how long it took."""
    print(f"{what} ...", end=" ", flush=True)
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:.1f} s", flush=True)


@contextmanager
def had_here() -> Iterator[None]:
    """Tell what this machine cannot provide (packages, mostly) from a failure of what is tested."""
    try:
        yield
    except NoEngineError:
        raise
    except LabError as error:
        raise NoEngineError(f"what it takes is not to be had here: {error}") from error


@had_here()
def make_images(engine: Engine, directory: Path, tree: Path, targets: Sequence[str]) -> None:
    """Make the base and what stands on it."""
    with step("base image"):
        base, origin = images.make_base(engine, directory, (tree / "compose" / "Dockerfile").read_text())
        print(f"({origin})", end=" ")
    with step("one container"):
        images.try_one(engine, base)
    for target in targets:
        with step(f"image {images.TARGETS[target]}"):
            images.build(engine, tree, base, target)


def with_engine(directory: Path, targets: Sequence[str], run: Callable[[Engine, Path], int]) -> int:
    """Run it on the machine's own engine if that answers, else on a private one. Raises NoEngineError."""
    own = Engine()
    if own.answers():
        print("this machine's own Docker engine answers")
        tree = images.copy_sources(directory)
        with images.images_put_back(own, targets):
            make_images(own, directory, tree, targets)
            return run(own, tree)
    if os.geteuid() != 0:
        raise NoEngineError("no Docker engine answers, and to start one takes root")
    with had_here(), step("packages"):
        call((images.ROOT / "scripts" / "install-system-packages", "containers"), INSTALL)
    tree = images.copy_sources(directory)
    with private_engine(directory, online=True) as engine:
        make_images(engine, directory, tree, targets)
    with private_engine(directory, online=False) as engine:
        return run(engine, tree)


def sample(engine: Engine, tree: Path) -> int:
    """Run the tests that continuous integration runs."""
    environment = {**engine.environment, "HAAGENT_CONTAINERS": str(tree / "compose")}
    options = ("-q", "-p", "no:cacheprovider", "--basetemp", str(tree.parent / "pytest"))
    argv = (sys.executable, "-m", "pytest", *options, SAMPLE)
    status, _ = run_to_end(argv, environment)
    return status


def campaigns(words: argparse.Namespace) -> Callable[[Engine, Path], int]:
    """Return what plays one campaign per profile and prints the table."""

    def run(engine: Engine, tree: Path) -> int:
        rows: list[Row] = []
        try:
            for number, profile in enumerate(words.profiles):
                seed = words.seed + number
                rows.append(play(engine, tree / "compose", profile, seed, words.faults, words.out))
        finally:
            print(table(rows), flush=True)
        return 0 if all(row.good for row in rows) else 1

    return run


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.containers", description=__doc__)
    parser.add_argument("--faults", type=int, help="a campaign of so many per profile; default: the sample")
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, default=PROFILES, metavar="PROFILE")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first profile; each next one has one more"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/containers"), help="where a failure leaves logs"
    )
    words = parser.parse_args()
    java = words.faults is not None and needs_zookeeper(words.profiles)
    targets = list(images.TARGETS) if java else ["haagent"]
    with tempfile.TemporaryDirectory(prefix="haagent-containers-") as directory:
        try:
            return with_engine(Path(directory), targets, sample if words.faults is None else campaigns(words))
        except NoEngineError as error:
            print(f"not run: {error}")
            return 0 if words.faults is None else 1


if __name__ == "__main__":
    with clean_exit("containers", failed=1):
        sys.exit(main())
