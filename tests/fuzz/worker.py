"""One target under libFuzzer: ``python -m tests.fuzz.worker TARGET OPTIONS... CORPUS SEEDS``. Started by __main__.

Imports the project only after atheris, which instruments modules as they are imported.
"""

from __future__ import annotations

import sys

import atheris

INSTRUMENTED = ("haagent.core", "haagent.config", "haagent.control", "haagent.effects", "arbiters")


def main() -> None:
    """Fuzz; libFuzzer ends the process."""
    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        from tests.fuzz.targets import TARGETS
    atheris.Setup(sys.argv[1:], TARGETS[sys.argv[1]].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
