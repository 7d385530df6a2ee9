"""Where one instance speaks and listens: its interface, source and destination, resolved.

Pure data derived from a configuration and two facts of the host (interface index, primary address).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from haagent.config.model import VrrpInstance
from haagent.core.events import IPAddress
from haagent.core.packet import MULTICAST_GROUP_4, MULTICAST_GROUP_6, ChecksumForm, Expectations, Packet


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``ifindex`` is 0 while the interface does not exist, ``source`` None while it has no usable address.

    ``vmac_ifindex`` is the virtual MAC interface adverts leave by, 0 if they leave by the interface itself.
    """

    instance: VrrpInstance
    ifindex: int
    source: IPAddress | None
    vmac_ifindex: int = 0

    def leaves_by(self, priority: int) -> int:
        """Return the index of the interface for adverts of this priority.

        A resignation is sent with the claim closed, when nothing of the virtual MAC may leave any more (EXCL).
        """
        return self.vmac_ifindex if priority and self.vmac_ifindex else self.ifindex

    @property
    def group(self) -> IPAddress | None:
        """The multicast group, None for a unicast instance."""
        if self.instance.unicast is not None:
            return None
        default = MULTICAST_GROUP_4 if self.instance.family == 4 else MULTICAST_GROUP_6
        return self.instance.multicast_group or default

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """The virtual addresses as adverts carry them, in the configured order."""
        return tuple(virtual.address for virtual in self.instance.addresses)

    @property
    def checksum(self) -> ChecksumForm:
        """The checksum form this instance sends."""
        return ChecksumForm.MESSAGE_ONLY if self.instance.checksum_as_v2 else ChecksumForm.PSEUDO_HEADER

    def packet(self, priority: int) -> Packet:
        """Return the advertisement this instance sends with ``priority``."""
        instance = self.instance
        return Packet(
            version=instance.version,
            vrid=instance.vrid,
            priority=priority,
            interval=instance.advert_interval,
            addresses=self.addresses,
            auth=instance.auth_pass,
        )

    def hops(self) -> dict[IPAddress, tuple[int, int]]:
        """Return the least and largest TTL of adverts, for the peers that have a limit (min_ttl, max_ttl)."""
        unicast = self.instance.unicast
        return {} if unicast is None else {peer: (least, most) for peer, least, most in unicast.hops}

    def expectations(self) -> Expectations:
        """Return what the codec shall accept for this instance."""
        instance, unicast = self.instance, self.instance.unicast
        unknown: IPAddress = IPv4Address(0) if instance.family == 4 else IPv6Address(0)
        peers = None
        if unicast is not None:
            peers = frozenset(unicast.peers if unicast.check_source else ())
        return Expectations(
            version=instance.version,
            vrid=instance.vrid,
            interval=instance.advert_interval,
            addresses=self.addresses,
            destination=self.group or self.source or unknown,
            own_addresses=frozenset(() if self.source is None else (self.source,)),
            peers=peers,
            auth=instance.auth_pass,
            checksum_sent=self.checksum,
            check_addresses=not instance.skip_check_adv_addr,
            strict=instance.strict,
        )
