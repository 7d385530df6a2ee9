"""The answer to HAProxy's agent-check: one line on connecting, in the words of its manual ("agent-check").

    ready up 100%        MASTER, and the kernel passes the traffic; the percentage is the part of the instances meant
    drain up             BACKUP: no new connections, and no alarm
    down #reason         FAULT, or an agent that does not run

A balancer that cannot connect keeps what it heard last, so it must check ``/primary`` as well.
"""

from __future__ import annotations

from haagent.control.view import View


def line(view: View, subject: str = "") -> str:
    """Return the line about an instance or sync group; "" is all of this node."""
    meant = view.of(subject)
    if not meant:
        return "down #nothing to keep available\n" if view.alive else "down #haagent does not run\n"
    held = sum(view.is_master(one) for one in meant)
    if held:
        return f"ready up {max(1, 100 * held // len(meant))}%\n"
    if not view.alive:
        return "down #haagent does not run\n"
    if any(view.is_backup(one) for one in meant):
        return "drain up\n"
    return f"down #{meant[0].name} is {view.state_of(meant[0])}\n"
