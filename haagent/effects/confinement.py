"""What a process of ours may still do, and how long it may live.

Promises that ``become_nobody`` leaves no capability and no way back to one, or raises; and that a process that has asked
for it does not outlive its parent. May not decide who is confined.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct

from haagent.errors import EX_SOFTWARE, EffectError

NOBODY = 65534
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITIES_HEADER = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
_NO_CAPABILITIES = bytes(24)  # effective, permitted and inheritable, in two halves


def die_with(parent: int, number: signal.Signals) -> None:
    """Ask the kernel for the signal ``number`` when the parent dies; end at once if it is not ``parent`` any more.

    To be asked again after a change of credentials: the kernel forgets it then.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(EX_SOFTWARE)


def become_nobody() -> None:
    """Give up every capability for good, and root's name and groups where that is possible. Raises EffectError.

    Everything that has to be opened or imported is, before. A root who may not change its user (a container without
    CAP_SETUID) stays root in name, and may no more than the owner of root's files.
    """
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # others that are nobody, too, may not look into it
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.capset(_CAPABILITIES_HEADER, _NO_CAPABILITIES):
        raise EffectError(f"cannot give up privileges: {os.strerror(ctypes.get_errno())}")
