"""The peer channel: authenticated messages between the nodes, over every network the operator names at once.

Promises: every message goes to every address of its peer, and what arrives several times is delivered once; what
is not authentic, fresh and meant for this process changes nothing but a counter. Every node says hello every
second, whatever its state, so that ``status`` knows who is heard over which address and that two clocks can be
compared (``peer_link``). A network or address that is missing never stops the node. Decides nothing about promises.

The source address of a datagram proves nothing and may be anything; answers go to the configured addresses.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, TypeAlias

from haagent.config.model import Peers as PeersConfig
from haagent.core.actions import SendToPeer
from haagent.core.events import ClockDoubted, PeerHeard
from haagent.core.reports import Noticed, Report
from haagent.core.units import Instant
from haagent.effects.clock import Clock, Reading
from haagent.effects.peer_link import Link
from haagent.effects.peer_messages import LARGEST, Body, Discard, Envelope, check_key, seal, unseal
from haagent.effects.throttle import Throttle

PeerEvent: TypeAlias = PeerHeard | ClockDoubted

LOG = logging.getLogger("haagent.peers")
HELLO_EVERY = 1.0  # seconds
_TELL_EVERY = 60.0  # seconds, per reason and source
_BATCH = 64  # datagrams per wake-up, so that a flood does not starve the timers
_ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - every network, unless ``listen`` is given
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78
_QUIETLY = (Discard.REPEATED, Discard.STALE)  # ordinary on several networks, and after a restart


@dataclass(slots=True)
class PeerState:
    """One peer. ``heard`` and ``heard_at`` are CLOCK_BOOTTIME in ns, the latter by configured address."""

    addresses: tuple[str, ...]
    link: Link
    heard: Instant | None = None
    heard_at: dict[str, Instant] = field(default_factory=dict)
    latest: dict[str, int] = field(default_factory=dict)  # the highest number seen from each address


class Peers:
    """The channel of one node. ``counters`` counts ``sent``, ``accepted``, discards and refusals of the host."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        node: str,
        deliver: Callable[[PeerEvent], object],
        tell: Callable[[Report], object],
    ) -> None:
        self._loop, self._node, self._deliver, self._tell = loop, node, deliver, tell
        self._clock = Clock()
        self._config: PeersConfig | None = None
        self._peers: dict[str, PeerState] = {}
        self._listening: dict[tuple[int, str], socket.socket] = {}
        self._sending: dict[int, socket.socket] = {}
        self._throttle = Throttle(_TELL_EVERY, burst=16, keys=256)
        self._timer: asyncio.TimerHandle | None = None
        self.counters: Counter[str] = Counter()

    def reconfigure(self, config: PeersConfig | None) -> None:
        """Talk to exactly these peers; links to those that stay stay. Raises ConfigError for a short key."""
        if config is not None:
            check_key(config.key)
        before, self._config = self._config, config
        if config is None or before is None or (before.port, before.listen) != (config.port, config.listen):
            self._close_sockets()
        kept = self._peers if before is not None and config is not None and before.key == config.key else {}
        self._peers = {}
        for peer in config.nodes if config is not None else ():
            known = kept.get(peer.node)
            # A link that begins anew counts from 1 again, which its peer would take for replays on an old channel.
            link = known.link if known is not None else Link(self._node, secrets.token_hex(8), peer.node)
            heard = known.heard if known is not None else None
            self._peers[peer.node] = PeerState(peer.addresses, link, heard)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if config is not None:
            self._say_hello()

    def send(self, action: SendToPeer) -> None:
        """Send the core's message over every network. A peer that is not configured any more gets nothing."""
        state = self._peers.get(action.peer)
        if state is None:
            return
        body: Any = action.body
        self._send(state, state.link.write(body, self._clock.read().now.fast))

    def status(self) -> Mapping[str, PeerState]:
        """Return what is known of each peer."""
        return self._peers

    def heard(self) -> dict[str, Instant | None]:
        """Return when each peer was heard last, on CLOCK_BOOTTIME; None: never."""
        return {name: state.heard for name, state in self._peers.items()}

    def close(self) -> None:
        """Fall silent. Idempotent."""
        self._config, self._peers = None, {}
        self._close_sockets()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- out

    def _say_hello(self) -> None:
        self._open_sockets()
        for state in self._peers.values():
            self._send(state, state.link.write(None, self._clock.read().now.fast))
        self._timer = self._loop.call_later(HELLO_EVERY, self._say_hello)

    def _send(self, state: PeerState, envelope: Envelope) -> None:
        if self._config is None:
            return
        try:
            data = seal(envelope, self._config.key)
        except ValueError as error:
            self._notice(envelope.recipient, "cannot be told", str(error))
            return
        for address in state.addresses:
            self._send_to(address, data)

    def _send_to(self, address: str, data: bytes) -> None:
        assert self._config is not None
        family = _family(address)
        try:
            if family not in self._sending:
                self._sending[family] = _socket(family)
            self._sending[family].sendto(data, (address, self._config.port))
            self.counters["sent"] += 1
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "error")
            self.counters[f"send {name}"] += 1
            self._notice(address, "cannot be reached", error.strerror or name)

    # -- in

    def _readable(self, listener: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                data, address = listener.recvfrom(LARGEST + 1)
            except BlockingIOError:
                return
            except OSError as error:
                self.counters[f"receive {errno.errorcode.get(error.errno or 0, 'error')}"] += 1
                return
            if self._config is not None:
                self._take(data, str(address[0]), self._config.key)

    def _take(self, data: bytes, source: str, key: bytes) -> None:
        envelope = unseal(data, key)
        if isinstance(envelope, Discard):
            self._discard(envelope, source)
            return
        state = self._peers.get(envelope.sender)
        if envelope.recipient != self._node:
            self._discard(Discard.NOT_FOR_US, source)
            return
        if state is None:
            self._discard(Discard.UNKNOWN_NODE, f"{envelope.sender} at {source}")
            return
        reading = self._clock.read()
        verdict = state.link.read(envelope, lambda: reading.now.fast)
        if isinstance(verdict, Discard):
            self._discard(verdict, source)
            if verdict is Discard.REPEATED:
                self._heard_over(state, envelope, source, reading)
            return
        if verdict.answer is not None:
            self._send(state, verdict.answer)
        if not verdict.proved:
            return
        if verdict.answer is not None:
            state.latest.clear()  # another process of the peer: its numbers begin anew
        self.counters["accepted"] += 1
        state.heard = reading.boot
        self._heard_over(state, envelope, source, reading)
        self._pass_on(envelope.sender, verdict.body, verdict.evidence)

    def _heard_over(self, state: PeerState, envelope: Envelope, source: str, reading: Reading) -> None:
        """Note that this address works. Only ever newer messages count, so a replay does not keep it alive."""
        if source in state.addresses and envelope.number > state.latest.get(source, 0):
            state.latest[source] = envelope.number
            state.heard_at[source] = reading.boot

    def _pass_on(self, peer: str, body: Body, evidence: str) -> None:
        if evidence:
            self._deliver(ClockDoubted(evidence))
        if body is not None:
            self._deliver(PeerHeard(peer, body))

    def _discard(self, reason: Discard, source: str) -> None:
        self.counters[reason] += 1
        if reason not in _QUIETLY:
            self._notice("peers", "message discarded", f"{reason} from {source}")

    def _notice(self, subject: str, what: str, detail: str) -> None:
        if self._throttle.admit((subject, what, detail), self._loop.time()):
            self._tell(Noticed(subject, what, detail))

    # -- sockets

    def _open_sockets(self) -> None:
        """Open what is not open: all of it at start, and later what could not be opened before."""
        assert self._config is not None
        for family, address in self._wanted():
            if (family, address) in self._listening:
                continue
            try:
                listener = _socket(family, (address, self._config.port))
            except OSError as error:
                self._notice(
                    f"{address} port {self._config.port}",
                    "cannot be listened on",
                    error.strerror or str(error),
                )
                continue
            self._listening[family, address] = listener
            self._loop.add_reader(listener, self._readable, listener)

    def _wanted(self) -> list[tuple[int, str]]:
        assert self._config is not None
        if self._config.listen:
            return [(_family(address), address) for address in self._config.listen]
        families = {_family(address) for state in self._peers.values() for address in state.addresses}
        return [(family, _ANY[socket.AddressFamily(family)]) for family in sorted(families)]

    def _close_sockets(self) -> None:
        for listener in self._listening.values():
            self._loop.remove_reader(listener)
            listener.close()
        for sender in self._sending.values():
            sender.close()
        self._listening.clear()
        self._sending.clear()


def _family(address: str) -> int:
    return socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6


def _socket(family: int, bind: tuple[str, int] | None = None) -> socket.socket:
    """Return a UDP socket; one that is bound may be bound to an address that the host does not have yet."""
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if bind is not None:
            level, option = (
                (socket.IPPROTO_IP, _IP_FREEBIND)
                if family == socket.AF_INET
                else (socket.IPPROTO_IPV6, _IPV6_FREEBIND)
            )
            made.setsockopt(level, option, 1)
            made.bind(bind)
    except OSError:
        made.close()
        raise
    return made
