"""The same core and the same simulation as machine code: unchanged source, compiled by mypyc.

Promises that a seed means exactly the same here (the digests are compared by a test) and that what runs was made from
the source as it is now: the directory is named after its hash. It decides nothing and replaces nothing; what is
changed while it runs (the planted defects) stays with plain Python. The working tree is not touched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from sysconfig import get_path

ROOT = Path(__file__).resolve().parents[2]
BUILDS = ROOT / "build" / "simulation"
# Whatever runs once per event, and what else a campaign needs.
HOT = ("chance", "checks", "clocks", "host", "kernel", "networks", "store", "world")
COLD = (
    *("__init__", "__main__", "changeover", "cli", "compiled", "configuration", "faults", "layouts", "plan"),
    "runner",
)
SOURCES = (
    "haagent/*.py",
    "haagent/agent/__init__.py",
    "haagent/agent/succession.py",
    "haagent/core/*.py",
    "haagent/effects/__init__.py",
    "haagent/effects/clock.py",
    "tests/__init__.py",
    *(f"tests/simulation/{name}.py" for name in (*HOT, *COLD)),
)
# Packets and frames are not part of the simulation.
COMPILED = ("haagent/core/*.py", "haagent/effects/clock.py", *(f"tests/simulation/{name}.py" for name in HOT))
INTERPRETED = ("__init__.py", "packet.py", "frames.py")


class NotCompiled(Exception):  # noqa: N818 - it says what is missing
    """There is no compiled simulation; the text says why."""


def run(arguments: list[str]) -> int:
    """Run the simulation's command line in the compiled copy, building it first if its source is new."""
    home = build()
    environment = {**os.environ, "PYTHONPATH": str(home)}
    return subprocess.call([sys.executable, "-m", "tests.simulation", *arguments], cwd=home, env=environment)


def build() -> Path:
    """Return the directory of the compiled copy; it is made if there is none. Raises NotCompiled."""
    home = BUILDS / _fingerprint(ROOT)
    if home.exists():
        return home
    if lacking():
        raise NotCompiled(f"{lacking()} is not installed")
    print("compiling the core and the simulation ...", file=sys.stderr, flush=True)
    BUILDS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILDS, prefix="making-") as making:
        tree = Path(making) / "tree"
        for path in _files(ROOT, SOURCES):
            copy = tree / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        command = [sys.executable, "-m", "tests.simulation.compiled"]
        ran = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise NotCompiled("\n".join((ran.stdout + ran.stderr).splitlines()[-5:]))
        shutil.rmtree(tree / "build")
        home = BUILDS / _fingerprint(tree)  # of the copy: the sources may have moved on meanwhile
        if not home.exists():
            tree.rename(home)
    return home


def lacking() -> str:
    """Return what it would take to compile and is not there; empty if all is."""
    if find_spec("mypyc") is None or find_spec("setuptools") is None:
        return "mypy[mypyc]"
    if not Path(get_path("include"), "Python.h").exists():
        return "python3-dev"
    return "" if shutil.which("gcc") else "gcc"


def _fingerprint(root: Path) -> str:
    digest = hashlib.sha256(f"{sys.version} {version('mypy')}".encode())
    for path in _files(root, SOURCES):
        digest.update(f"\0{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _files(root: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted(path for pattern in patterns for path in root.glob(pattern))


def _compile() -> None:
    """Compile in the current directory, a copy of the sources, in place."""
    from mypyc.build import mypycify
    from mypyc.ir.rtypes import object_rprimitive
    from mypyc.primitives.registry import builtin_names, load_address_op
    from setuptools import setup

    if "builtins.object" not in builtin_names:  # mypyc forgets it; a field of a dataclass may be anything
        load_address_op("builtins.object", object_rprimitive, "PyBaseObject_Type")
    paths = [str(path.relative_to(ROOT)) for path in _files(ROOT, COMPILED) if path.name not in INTERPRETED]
    extensions = mypycify(["--config-file=", "--strict", *paths], opt_level="1", debug_level="0")
    setup(
        name="simulation", packages=[], ext_modules=extensions, script_args=["-q", "build_ext", "--inplace"]
    )


if __name__ == "__main__":
    _compile()
