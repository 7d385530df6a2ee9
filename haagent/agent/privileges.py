"""What the agent must be allowed to do, asked before anything is touched, so that the answer is a clear sentence."""

from __future__ import annotations

from haagent.effects.gate.opening import effective_capabilities
from haagent.errors import EffectError

# Bits of capabilities(7), and what each is for.
NEEDED = {12: "CAP_NET_ADMIN (addresses, the gate)", 13: "CAP_NET_RAW (VRRP, ARP and ND)"}


def require() -> None:
    """Raise EffectError unless this process may do what every agent does."""
    held = effective_capabilities()
    missing = [text for bit, text in NEEDED.items() if not held >> bit & 1]
    if missing:
        raise EffectError(
            f"not permitted on this host: {' and '.join(missing)} missing; run as root, or grant them "
            "(systemd: AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_BPF CAP_SYS_ADMIN)"
        )
