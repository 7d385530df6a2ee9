"""One one-shot timer at an absolute CLOCK_BOOTTIME, punctual to a fraction of a millisecond.

Promises: the callback runs in the event loop, once per arming, never before the deadline, and at once if the
deadline has passed already. It decides nothing.

asyncio's own ``call_at`` rounds up to whole milliseconds and stands still in suspend; a timerfd does neither.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable

from haagent.core.units import SECOND
from haagent.errors import EffectError

_ABSOLUTE = 1  # TFD_TIMER_ABSTIME


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


if sys.version_info >= (3, 13):

    def _create() -> int:
        return os.timerfd_create(time.CLOCK_BOOTTIME, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

    def _set(fd: int, boot_ns: int) -> None:
        os.timerfd_settime_ns(fd, flags=_ABSOLUTE, initial=boot_ns)

else:
    _libc = ctypes.CDLL(None, use_errno=True)
    _libc.timerfd_settime.argtypes = (
        ctypes.c_int,
        ctypes.c_int,
        ctypes.POINTER(_Itimerspec),
        ctypes.c_void_p,
    )

    def _create() -> int:
        # TFD_NONBLOCK and TFD_CLOEXEC are O_NONBLOCK and O_CLOEXEC by definition.
        fd: int = _libc.timerfd_create(time.CLOCK_BOOTTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return fd

    def _set(fd: int, boot_ns: int) -> None:
        spec = _Itimerspec(_Timespec(0, 0), _Timespec(*divmod(boot_ns, SECOND)))
        if _libc.timerfd_settime(fd, _ABSOLUTE, ctypes.byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Timer:
    """Calls ``callback()`` in ``loop`` when CLOCK_BOOTTIME reaches the armed deadline."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Raises EffectError if the kernel has no timer for us."""
        self._loop, self._callback = loop, callback
        self._armed = 0
        try:
            self._fd = _create()
        except OSError as error:
            raise EffectError(f"cannot create a timer: {error}") from error
        loop.add_reader(self._fd, self._expired)

    def arm(self, boot_ns: int) -> None:
        """Fire once when CLOCK_BOOTTIME reaches ``boot_ns`` (nanoseconds); replaces an earlier deadline."""
        boot_ns = max(boot_ns, 1)  # zero would disarm, and means "long past" to a caller
        if boot_ns != self._armed:
            _set(self._fd, boot_ns)
            self._armed = boot_ns

    def disarm(self) -> None:
        """Forget the deadline; a timer that is not armed never fires."""
        if self._armed:
            _set(self._fd, 0)
            self._armed = 0

    def close(self) -> None:
        """Free the timer. Idempotent."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # armed anew between the expiry and this call
        self._armed = 0
        self._callback()
