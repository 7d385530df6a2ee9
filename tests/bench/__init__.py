"""keepalived and haagent side by side, on this machine, in one run: ``python -m tests.bench``.

The machine is part of every number; compare within one run only.
"""
