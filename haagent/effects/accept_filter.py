"""no_accept: a MASTER that is not the owner answers ARP and neighbour solicitations for an address, and nothing else.

Promises: packets to such an address, and packets that a program of this host sends from it, are dropped in the input
and output hooks, as keepalived drops them; what is routed through is not touched. The table is there from the start
to the end, whoever is MASTER: a BACKUP has not got the address. It is not part of the gate, and no safety rests on it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence

from haagent.config.model import VrrpInstance
from haagent.config.network_model import VirtualAddress
from haagent.errors import EffectError

TABLE = "inet haagent_accept"
_TIMEOUT = 10.0  # seconds; nft takes some ten milliseconds
_NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"


class AcceptFilter:
    """The filter of one node, in the network namespace of the process."""

    def __init__(self) -> None:
        self._installed: tuple[VirtualAddress, ...] | None = None  # None: nobody has looked yet

    def reconfigure(self, instances: Iterable[VrrpInstance]) -> None:
        """Filter exactly these instances' addresses, where they say no_accept. Raises EffectError."""
        wanted = tuple(
            virtual
            for instance in instances
            if not instance.accept
            for virtual in (*instance.addresses, *instance.excluded)
        )
        if wanted == self._installed:
            return
        if wanted or self._installed or (self._installed is None and shutil.which("nft")):
            _nft(ruleset(wanted))
        self._installed = wanted

    def close(self) -> None:
        """Take the filter away, after the addresses are gone. Idempotent. Raises EffectError."""
        if self._installed:
            self.reconfigure(())


def ruleset(virtuals: Sequence[VirtualAddress]) -> str:
    """Return what nft reads to have the filter for these addresses instead of what is there, in one transaction."""
    text = f"add table {TABLE}\ndelete table {TABLE}\n"
    if not virtuals:
        return text
    return f"{text}table {TABLE} {{\n{_chain('input', 'daddr', virtuals)}{_chain('output', 'saddr', virtuals)}}}\n"


def _chain(hook: str, end: str, virtuals: Sequence[VirtualAddress]) -> str:
    way = "iifname" if hook == "input" else "oifname"
    lines = [f"type filter hook {hook} priority filter - 1", _NEIGHBOURS]
    for virtual in virtuals:
        address = virtual.address
        # fe80::1 may be another claim's address on the next link.
        where = f'{way} "{virtual.device}" ' if address.is_link_local and address.version == 6 else ""
        lines.append(f"{where}{'ip' if address.version == 4 else 'ip6'} {end} {address} drop")
    return f"chain {hook} {{\n" + "".join(f"{line}\n" for line in lines) + "}\n"


def _nft(text: str) -> None:
    try:
        done = subprocess.run(
            ["nft", "-f", "-"], input=text, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EffectError(f"no_accept needs nft: {error}") from error
    if done.returncode:
        raise EffectError(f"no_accept: nft says {done.stderr.strip()}")
