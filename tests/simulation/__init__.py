"""Deterministic simulation of the real core: ``python -m tests.simulation --help``, docs/safety/simulation.md.

Promises: nothing here reads a clock, a network or unseeded randomness, so a seed means the same run everywhere.
"""
