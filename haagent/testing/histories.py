"""Records what concurrent clients do with an arbiter, and has it judged.

::

    history = History()
    arbiter = RecordingArbiter(await open_arbiter(options), history, "client 1")
    ...                                   # reads and swaps, also while servers are killed
    assert not check(history.operations)  # says which operations contradict the contract

``Workload`` is a ready-made set of clients. What is judged, and why in one pass, says ``conformance.linearizability``.
"""

from __future__ import annotations

from haagent.conformance.history import History, Operation, Outcome, Read, RecordingArbiter, Swap
from haagent.conformance.linearizability import Fault, Violation, check
from haagent.conformance.workload import Workload

__all__ = [
    "Fault",
    "History",
    "Operation",
    "Outcome",
    "Read",
    "RecordingArbiter",
    "Swap",
    "Violation",
    "Workload",
    "check",
]
