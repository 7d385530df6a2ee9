"""Which lease, renewal and guard an arbiter allows that was measured: pure arithmetic.

The rules, in the order in which they decide:

* Every renewal has R to be answered. R is at least four times the 99th percentile of a swap, and no less than the
  longest swap seen and than a call that has to connect anew.
* L = 4 R: the address outlives two renewals that were lost and a third that came late; more where a lost connection
  cost more than two calls. Never below the agent's own defaults, a second, or 0.2 s where peers renew as well (failsafe).
* g is what closing the gate takes on this host, nothing the arbiter has a say in: 20 ms, at most a tenth of the lease.
"""

from __future__ import annotations

from haagent.agent.parameters import GUARD, SHORTEST_LEASE, SHORTEST_WITH_FAILSAFE, Timing
from haagent.core.units import MILLISECOND, Duration

HEADROOM = 4  # renewals per lease; and how many times the 99th percentile a renewal may take
STEP: Duration = 5 * MILLISECOND


def propose(swap_p99: Duration, longest: Duration, lost: int, *, failsafe: bool) -> Timing:
    """Return the shortest lease that is sound with these measurements, R and g with it.

    ``longest`` is the longest call that was answered, ``lost`` how many calls a lost connection cost.
    """
    renewals = max(HEADROOM, lost + 2)
    floor = SHORTEST_WITH_FAILSAFE if failsafe else SHORTEST_LEASE
    needed = max(HEADROOM * swap_p99, longest, floor // renewals, STEP)
    renew = -(-needed // STEP) * STEP
    lease = renewals * renew
    return Timing(lease, renew, min(GUARD, lease // 10))
