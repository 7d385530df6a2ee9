"""``python -m haagent``."""

from haagent.cli import main

main(prog_name="haagent")
