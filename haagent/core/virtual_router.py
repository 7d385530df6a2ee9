"""The VRRP state machine of one virtual router: RFC 9568 6.4 and RFC 3768 6.4, and nothing else.

Promises: total over (state, event). A stale timer, a shutdown before any startup, an advertisement while
stopped: each is ignored, none raises. No I/O, no clock, no logging; the caller says what time it is, performs
the outputs in order, and comes back at ``next_deadline()``. Packets are checked before they get here (``packet``).

Theory of operation. There are three states, and RFC 9568 calls the third one Active; we keep the word of its
users and of the RFCs before it, Master::

                  startup, owner (255)                 deadline_reached
    Initialize ----------------------------> Master <------------------- Backup
        |  ^                                 |   |                        ^ ^ |
        |  |            shutdown             |   |   better advert heard  | | |  advert from the Master,
        |  +---------------------------------+   +------------------------+ +-+  or a resigning one
        +--------------------------- startup ---------------------------->

A state is a frozen value that carries its own deadlines, so a timer that does not run does not exist and no
deadline outlives its state. In Backup, ``master_down_at`` is pushed ahead by every advertisement of a router we
accept as Master; Skew_Time makes it expire first on the router with the highest priority. A *lower* priority
does not push it (that is preemption: we wait it out), unless Preempt_Mode is off or the preempt delay, a
keepalived extension, still runs. In Master, ``adver_at`` goes up by exact intervals and so does not drift.

Whoever runs us may come late to ``master_down_at``, for example because an arbiter must agree first.
Until then we are a Backup like any other: ``wants_master`` says so, and advertisements still re-arm the timer.

Times are integer nanoseconds; nothing is rounded to centiseconds, only fractions of a nanosecond are cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from haagent.core.events import IPAddress
from haagent.core.packet import OWNER_PRIORITY, RESIGN_PRIORITY
from haagent.core.units import SECOND, Duration, Instant


class Output(Enum):
    """What the router asks for; a tuple of these is performed in order."""

    SEND_ADVERTISEMENT = "send an advertisement with the current priority"
    RESIGN = "send an advertisement with priority 0"
    INSTALL_ADDRESSES = "install the virtual addresses"
    ANNOUNCE_ADDRESSES = "send a gratuitous ARP or unsolicited neighbour advertisement per address"
    REMOVE_ADDRESSES = "remove the virtual addresses"


Outputs: TypeAlias = tuple[Output, ...]

_NOTHING: Outputs = ()
_SEND: Outputs = (Output.SEND_ADVERTISEMENT,)
# RFC 9568 6.4.2: advertisement first, then the announcements; keepalived installs in between.
_TAKE_OVER: Outputs = (Output.SEND_ADVERTISEMENT, Output.INSTALL_ADDRESSES, Output.ANNOUNCE_ADDRESSES)
_LET_GO: Outputs = (Output.REMOVE_ADDRESSES,)
_RESIGN: Outputs = (Output.RESIGN, Output.REMOVE_ADDRESSES)
_YIELD_ALOUD: Outputs = (Output.SEND_ADVERTISEMENT, Output.REMOVE_ADDRESSES)

_ANSWERS_PER_INTERVAL = 4


@dataclass(frozen=True, slots=True)
class RouterParameters:
    """How one virtual router is configured. ``priority`` is the base, 1 to 255; 255 owns the addresses.

    ``preempt_delay`` and the three fields after it are keepalived's: how many advertisements may be missed;
    whether a Master stays silent on a lower priority (None: as the version's RFC says, silent in 3768,
    answering in 9568); whether it sends one more advertisement before it yields to a higher one.

    ``preempt_lowered`` is ours: without Preempt_Mode a Master whose priority has sunk since it was first heard is
    replaced all the same. Something it tracks has failed; nobody who only came back is meant by that.
    """

    version: Literal[2, 3]
    vrid: int
    priority: int
    advertisement_interval: Duration
    preempt_mode: bool = True
    preempt_delay: Duration = 0
    down_timer_adverts: int = 3
    lower_priority_no_advert: bool | None = None
    higher_priority_send_advert: bool = False
    preempt_lowered: bool = False


@dataclass(frozen=True, slots=True)
class Initialize:
    """Not taking part; RFC 9568 6.4.1."""


@dataclass(frozen=True, slots=True)
class Backup:
    """Watching a Master; RFC 9568 6.4.2.

    ``master_adver_interval`` is Active_Adver_Interval, learned in version 3. ``master_down_at`` is when the
    Active_Down_Timer expires. ``preempt_at`` is when the preempt delay ends, None while no lower priority has
    been heard.
    """

    master_adver_interval: Duration
    master_down_at: Instant
    preempt_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Master:
    """Holding the addresses; RFC 9568 6.4.3.

    ``adver_at`` is when the Adver_Timer expires, ``answer_at`` the earliest time of the next advertisement
    sent in answer to one heard.
    """

    adver_at: Instant
    answer_at: Instant


State: TypeAlias = Initialize | Backup | Master


def skew_time(version: Literal[2, 3], priority: int, master_adver_interval: Duration) -> Duration:
    """Return Skew_Time: a fraction of the Master's interval in version 3, of one second in version 2."""
    # RFC 9568 6.1: "(((256 - Priority) * Active_Adver_Interval) / 256)"; RFC 3768 6.1: "( (256 - Priority) / 256 )".
    return (256 - priority) * (SECOND if version == 2 else master_adver_interval) // 256


def master_down_interval(
    version: Literal[2, 3], priority: int, master_adver_interval: Duration, adverts: int = 3
) -> Duration:
    """Return Active_Down_Interval, after which a silent Master counts as down."""
    # RFC 9568 6.1: "(3 * Active_Adver_Interval) + Skew_Time".
    return adverts * master_adver_interval + skew_time(version, priority, master_adver_interval)


class VirtualRouter:
    """One virtual router. See the module for the theory; ``state`` may be read at any time."""

    def __init__(self, parameters: RouterParameters, primary_address: IPAddress | None = None) -> None:
        self.parameters = parameters
        self.primary_address = primary_address
        self._priority = parameters.priority
        self._state: State = Initialize()
        # Whom a Backup heard last, the highest priority of its time as Master, and whether it says less now.
        self._heard: IPAddress | None = None
        self._peak, self._lowered = 0, False

    @property
    def preempts(self) -> bool:
        """Whether a better router may ask the present Master to go."""
        return self.parameters.preempt_mode or (self.parameters.preempt_lowered and self._lowered)

    @property
    def state(self) -> State:
        """The current state."""
        return self._state

    @property
    def priority(self) -> int:
        """The effective priority: what advertisements carry and what is compared."""
        return self._priority

    def set_priority(self, priority: int, now: Instant) -> None:
        """Change the effective priority, 1 to 255; a running Active_Down_Timer moves by the change of its skew.

        One that has expired stays so: the wish to be Master does not go away by a change of weight.
        """
        assert RESIGN_PRIORITY < priority <= OWNER_PRIORITY
        state, before = self._state, self._priority
        self._priority = priority
        if isinstance(state, Backup) and state.master_down_at > now:
            version, interval = self.parameters.version, state.master_adver_interval
            shift = skew_time(version, priority, interval) - skew_time(version, before, interval)
            self._state = Backup(interval, state.master_down_at + shift, state.preempt_at)

    def next_deadline(self) -> Instant | None:
        """Return when ``deadline_reached`` is due; None while no timer runs. May lie in the past."""
        match self._state:
            case Backup(master_down_at=deadline) | Master(adver_at=deadline):
                return deadline
            case _:
                return None

    def wants_master(self, now: Instant) -> bool:
        """Return whether the Active_Down_Timer has expired and only ``deadline_reached`` is missing."""
        return isinstance(self._state, Backup) and self._state.master_down_at <= now

    def startup(self, now: Instant, *, owner_waits: bool = False) -> Outputs:
        """Leave Initialize. With ``owner_waits`` an owner begins as a Backup whose timer has already expired."""
        if not isinstance(self._state, Initialize):
            return _NOTHING
        self._heard, self._lowered = None, False  # whoever comes back knows nothing of how it went on
        own = self.parameters.advertisement_interval
        # 6.4.1: "If the Priority = 255 (i.e., the router owns the IPvX address associated with the Virtual
        # Router), then: Send an ADVERTISEMENT ... Transition to the {Active} state".
        if self._priority == OWNER_PRIORITY:
            if not owner_waits:
                return self._become_master(now)
            self._state = Backup(own, now)
            return _NOTHING
        # 6.4.1: "Set Active_Adver_Interval to Advertisement_Interval; Set the Active_Down_Timer to
        # Active_Down_Interval; Transition to the {Backup} state".
        self._become_backup(own, now)
        return _NOTHING

    def shutdown(self, now: Instant) -> Outputs:
        """Return to Initialize; a Master resigns."""
        match self._state:
            case Master():
                # 6.4.3: "Cancel the Adver_Timer; Send an ADVERTISEMENT with Priority = 0; Transition to the
                # {Initialize} state".
                outputs = _RESIGN
            case _:
                # 6.4.2: "Cancel the Active_Down_Timer; Transition to the {Initialize} state": no priority 0.
                outputs = _NOTHING
        self._state = Initialize()
        return outputs

    def interface_down(self, now: Instant) -> Outputs:
        """Return to Initialize without a word: there is nothing left to send it from."""
        outputs = _LET_GO if isinstance(self._state, Master) else _NOTHING
        self._state = Initialize()
        return outputs

    def deadline_reached(self, now: Instant) -> Outputs:
        """Act on the one timer of the current state if it has expired."""
        match self._state:
            # 6.4.2: "If the Active_Down_Timer fires, then: Send an ADVERTISEMENT ... Transition to the {Active}
            # state".
            case Backup(master_down_at=deadline) if deadline <= now:
                return self._become_master(now)
            # 6.4.3: "If the Adver_Timer fires, then: Send an ADVERTISEMENT; Reset the Adver_Timer to
            # Advertisement_Interval". Our own interval, never a learned one, and counted from the last deadline.
            case Master(adver_at=deadline, answer_at=answer_at) if deadline <= now:
                interval = self.parameters.advertisement_interval
                missed = (now - deadline) // interval  # a late loop sends one, not a burst
                self._state = Master(deadline + (missed + 1) * interval, answer_at)
                return _SEND
            case _:
                return _NOTHING

    def expire(self, now: Instant) -> None:
        """Count the Master as down at once: the caller has better evidence than its silence."""
        state = self._state
        if isinstance(state, Backup) and state.master_down_at > now:
            self._state = Backup(state.master_adver_interval, now, state.preempt_at)

    def advertisement_received(
        self, source: IPAddress, priority: int, interval: Duration, now: Instant
    ) -> Outputs:
        """Act on a valid advertisement of another router; ``interval`` is what it carried, more than 0."""
        state = self._state
        if isinstance(state, Backup):
            self._watch(source, priority)
            self._heard_by_backup(state, priority, interval, now)
            return _NOTHING
        if isinstance(state, Master):
            return self._heard_by_master(state, source, priority, interval, now)
        return _NOTHING

    def _watch(self, source: IPAddress, priority: int) -> None:
        """Remember what the Master's priority was at best."""
        if source != self._heard or priority == RESIGN_PRIORITY:
            self._heard, self._peak = source, 0
        self._peak = max(self._peak, priority)
        self._lowered = priority < self._peak

    def _heard_by_backup(self, state: Backup, priority: int, interval: Duration, now: Instant) -> None:
        # The hot path: one of these per advertisement of every Master we watch.
        # 6.4.2: "If the Priority in the ADVERTISEMENT is 0, then: Set the Active_Down_Timer to Skew_Time". The
        # interval in it is not learned.
        if priority == RESIGN_PRIORITY:
            learned = state.master_adver_interval
            skew = skew_time(self.parameters.version, self._priority, learned)
            self._state = Backup(learned, now + skew, state.preempt_at)
        # 6.4.2: "If Preempt_Mode is False, or if the Priority in the ADVERTISEMENT is greater than or equal to
        # the local Priority, then: Set Active_Adver_Interval to Max Advertise Interval contained in the
        # ADVERTISEMENT ... Reset the Active_Down_Timer to Active_Down_Interval".
        elif priority >= self._priority:
            self._become_backup(interval, now)
        # "else // Preempt_Mode was True and priority was less: Discard the ADVERTISEMENT".
        elif not self._may_preempt(state, now):
            preempt_at = now + self.parameters.preempt_delay if state.preempt_at is None else state.preempt_at
            self._become_backup(interval, now, preempt_at)

    def _may_preempt(self, state: Backup, now: Instant) -> bool:
        # 6.1, Preempt_Mode: "the router that owns the IPvX address ... always preempts, independent of the setting".
        if self._priority == OWNER_PRIORITY:
            return True
        if not self.preempts:
            return False
        if not self.parameters.preempt_mode:
            return True  # preempt_delay belongs to Preempt_Mode
        if not self.parameters.preempt_delay:
            return True
        return state.preempt_at is not None and state.preempt_at <= now

    def _heard_by_master(
        self, state: Master, source: IPAddress, priority: int, interval: Duration, now: Instant
    ) -> Outputs:
        # 6.4.3: "If the Priority in the ADVERTISEMENT is 0, then: Send an ADVERTISEMENT; Reset the Adver_Timer to
        # Advertisement_Interval".
        own = self.parameters.advertisement_interval
        if priority == RESIGN_PRIORITY:
            return self._answer(state, now, adver_at=now + own)
        # 6.4.3: "If the Priority in the ADVERTISEMENT is greater than the local Priority or ... equal to the local
        # Priority and the primary IPvX address of the sender is greater than the local primary IPvX address (based on
        # an unsigned integer comparison ...), then: Cancel Adver_Timer ... Transition to the {Backup} state".
        # Preempt_Mode is not looked at.
        if priority > self._priority or (priority == self._priority and self._outranked_by(source)):
            self._become_backup(interval, now)
            return _YIELD_ALOUD if self.parameters.higher_priority_send_advert else _LET_GO
        # 6.4.3, RFC 9568: "Discard ADVERTISEMENT; Send an ADVERTISEMENT immediately to assert the {Active} state
        # to the sending VRRP Router". RFC 3768: "Discard ADVERTISEMENT".
        silent = self.parameters.lower_priority_no_advert
        if silent or (silent is None and self.parameters.version == 2):
            return _NOTHING
        return self._answer(state, now, adver_at=state.adver_at)

    def _outranked_by(self, source: IPAddress) -> bool:
        # A router that has lost its primary address yields: it has nothing to send from.
        return self.primary_address is None or int(source) > int(self.primary_address)

    def _answer(self, state: Master, now: Instant, *, adver_at: Instant) -> Outputs:
        # The RFCs set no limit, so twenty packets a moment would draw twenty answers: the first is answered at
        # once, later ones a few times per interval. An unanswered one moves no timer, or a flood would silence us.
        if now < state.answer_at:
            return _NOTHING
        pause = self.parameters.advertisement_interval // _ANSWERS_PER_INTERVAL
        self._state = Master(adver_at, now + pause)
        return _SEND

    def _become_master(self, now: Instant) -> Outputs:
        self._heard, self._lowered = None, False
        self._state = Master(now + self.parameters.advertisement_interval, now)
        return _TAKE_OVER

    def _become_backup(self, interval: Duration, now: Instant, preempt_at: Instant | None = None) -> None:
        parameters = self.parameters
        # RFC 3768 6.1 has one interval, checked to be the same everywhere: version 2 never learns.
        learned = interval if parameters.version == 3 else parameters.advertisement_interval
        down = master_down_interval(
            parameters.version, self._priority, learned, parameters.down_timer_adverts
        )
        self._state = Backup(learned, now + down, preempt_at)
