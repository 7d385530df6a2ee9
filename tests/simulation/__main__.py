"""Run seeds from the command line; see ``--help``."""

from __future__ import annotations

import sys

from tests.simulation.cli import main

if __name__ == "__main__":
    sys.exit(main())
