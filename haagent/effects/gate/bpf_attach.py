"""Where BPF programs hang: TCX where the kernel has it (6.6), else a clsact filter; found, placed, taken off.

An attachment stays when the process that made it dies, and is replaced atomically: there is no instant without a
program. A BPF link would vanish with its descriptor, so none is used. Programs of others are never touched;
``haagent`` programs are known by their names. Raises OSError with the kernel's errno.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from haagent.effects.gate import bpf_syscall as bpf
from haagent.effects.gate.bpf_syscall import Hook
from haagent.effects.gate.netlink import CREATE, REPLACE, NetlinkSocket, attr, attributes, nested, text

PROGRAM_NAMES = {Hook.INGRESS: "haagent_ingress", Hook.EGRESS: "haagent_egress"}

_RTM_NEWQDISC, _RTM_DELQDISC = 36, 37
_RTM_NEWTFILTER, _RTM_DELTFILTER, _RTM_GETTFILTER = 44, 45, 46
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_FD, _TCA_BPF_NAME, _TCA_BPF_FLAGS, _TCA_BPF_ID = 6, 7, 8, 11
_ACT_DIRECT = 1
_CLSACT_PARENT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_FILTER_PARENT = {Hook.INGRESS: 0xFFFFFFF2, Hook.EGRESS: 0xFFFFFFF3}
_ETH_P_ALL = 3
_FILTER_PRIORITY, _FILTER_HANDLE = 1, 0x6861


class Mechanism(StrEnum):
    TCX = "tcx"
    CLSACT = "clsact"


@dataclass(frozen=True, slots=True)
class Attachment:
    """One of our programs on one hook. ``first`` is False if another program runs before it."""

    interface: str
    ifindex: int
    hook: Hook
    mechanism: Mechanism
    program_id: int
    map_ids: tuple[int, ...]
    first: bool


def find(interfaces: Iterable[tuple[int, str]] | None = None) -> list[Attachment]:
    """Return our programs on the (ifindex, name) pairs given, or on every interface of this namespace."""
    found: list[Attachment] = []
    with_filters = NetlinkSocket(socket.NETLINK_ROUTE)
    try:
        for ifindex, name in socket.if_nameindex() if interfaces is None else interfaces:
            for hook in Hook:
                found += _find_tcx(ifindex, name, hook)
                found += _find_clsact(with_filters, ifindex, name, hook)
    finally:
        with_filters.close()
    return found


def place(fd: int, ifindex: int, hook: Hook, mechanism: Mechanism, replaces: Attachment | None) -> None:
    """Attach the program as the first of the hook, atomically in the place of ``replaces`` if that is given."""
    if mechanism is Mechanism.CLSACT:
        _place_clsact(fd, ifindex, hook)
    elif replaces is None or replaces.mechanism is not mechanism:
        bpf.program_attach(fd, ifindex, hook)
    else:
        old = bpf.program_by_id(replaces.program_id)
        try:
            bpf.program_attach(fd, ifindex, hook, replace=old)
        finally:
            os.close(old)
    # The other mechanism's program, if any, goes only now: two gates for an instant, never none.
    if replaces is not None and replaces.mechanism is not mechanism:
        take_off(replaces)


def take_off(attachment: Attachment) -> None:
    """Detach one of our programs; it is no error if it, or its interface, is gone."""
    with suppress(FileNotFoundError, ProcessLookupError), _no_such_device():
        if attachment.mechanism is Mechanism.CLSACT:
            _request(
                _RTM_DELTFILTER,
                0,
                _filter_header(attachment.ifindex, attachment.hook) + text(_TCA_KIND, "bpf"),
            )
            return
        fd = bpf.program_by_id(attachment.program_id)
        try:
            bpf.program_detach(fd, attachment.ifindex, attachment.hook)
        finally:
            os.close(fd)


def remove_empty_clsact(ifindex: int) -> None:
    """Remove the clsact qdisc of an interface unless somebody's filters hang on it."""
    with NetlinkSession() as netlink:
        for hook in Hook:
            if netlink.query(_RTM_GETTFILTER, _tcmsg(ifindex, 0, _FILTER_PARENT[hook], 0)):
                return
    with suppress(OSError):
        _request(
            _RTM_DELQDISC, 0, _tcmsg(ifindex, _CLSACT_HANDLE, _CLSACT_PARENT, 0) + text(_TCA_KIND, "clsact")
        )


class NetlinkSession:
    """A route-netlink socket for the length of a ``with`` block."""

    def __enter__(self) -> NetlinkSocket:
        self._socket = NetlinkSocket(socket.NETLINK_ROUTE)
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.close()


class _no_such_device:  # noqa: N801 - reads as a statement
    """Suppress the errors of an interface that went away."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        return isinstance(error, OSError) and error.errno in {errno.ENODEV, errno.EINVAL, errno.ENXIO}


def _find_tcx(ifindex: int, name: str, hook: Hook) -> list[Attachment]:
    try:
        ids = bpf.attached_programs(ifindex, hook)
    except OSError as error:
        if error.errno in {
            errno.EINVAL,
            errno.ENODEV,
            errno.ENOENT,
        }:  # no TCX in this kernel, or no such interface
            return []
        raise
    found = []
    for position, program_id in enumerate(ids):
        info = _ours(program_id)
        if info is not None:
            found.append(
                Attachment(name, ifindex, hook, Mechanism.TCX, program_id, info.map_ids, position == 0)
            )
    return found


def _find_clsact(netlink: NetlinkSocket, ifindex: int, name: str, hook: Hook) -> list[Attachment]:
    try:
        answers = netlink.query(_RTM_GETTFILTER, _tcmsg(ifindex, 0, _FILTER_PARENT[hook], 0))
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENODEV, errno.ENOENT, errno.EOPNOTSUPP}:
            return []
        raise
    found: list[Attachment] = []
    first = True
    for answer in answers:
        options = attributes(attributes(answer[20:]).get(_TCA_OPTIONS, b""))
        if not options:
            continue  # the priority itself, listed before its filters
        info = _ours(struct.unpack("=I", options[_TCA_BPF_ID])[0]) if _TCA_BPF_ID in options else None
        if info is not None:
            found.append(Attachment(name, ifindex, hook, Mechanism.CLSACT, info.id, info.map_ids, first))
        first = False
    return found


def _ours(program_id: int) -> bpf.ProgramInfo | None:
    try:
        fd = bpf.program_by_id(program_id)
    except FileNotFoundError:
        return None
    try:
        info = bpf.program_info(fd)
    finally:
        os.close(fd)
    return info if info.name in PROGRAM_NAMES.values() else None


def _place_clsact(fd: int, ifindex: int, hook: Hook) -> None:
    with suppress(FileExistsError):
        _request(
            _RTM_NEWQDISC,
            CREATE | 0x200,
            _tcmsg(ifindex, _CLSACT_HANDLE, _CLSACT_PARENT, 0) + text(_TCA_KIND, "clsact"),
        )
    options = nested(
        _TCA_OPTIONS,
        attr(_TCA_BPF_FD, struct.pack("=I", fd)),
        text(_TCA_BPF_NAME, PROGRAM_NAMES[hook]),
        attr(_TCA_BPF_FLAGS, struct.pack("=I", _ACT_DIRECT)),
    )
    _request(
        _RTM_NEWTFILTER, CREATE | REPLACE, _filter_header(ifindex, hook) + text(_TCA_KIND, "bpf") + options
    )


def _filter_header(ifindex: int, hook: Hook) -> bytes:
    return _tcmsg(
        ifindex, _FILTER_HANDLE, _FILTER_PARENT[hook], _FILTER_PRIORITY << 16 | socket.htons(_ETH_P_ALL)
    )


def _tcmsg(ifindex: int, handle: int, parent: int, info: int) -> bytes:
    return struct.pack("=BxxxiIII", socket.AF_UNSPEC, ifindex, handle, parent, info)


def _request(kind: int, flags: int, payload: bytes) -> None:
    with NetlinkSession() as netlink:
        netlink.request(kind, flags, payload)
