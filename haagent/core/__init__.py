"""The pure middle: every protocol decision, and nothing that touches the world.

No I/O, no clock, no logging, no randomness, no tasks. One event and the time go in, an ordered tuple of
actions comes out: ``handle(event, now) -> tuple[Action, ...]``; ``next_deadline()`` says when to come back.
"""
