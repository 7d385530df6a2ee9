"""Finds out what a configured command means on this host: which program, as which user, and whether it may run.

Promises to refuse with a reason whatever must not or cannot run; root never runs what somebody else could have
changed. May not start anything (``processes`` does) nor decide what a refusal means.

Everything here may be slow (names of users from a directory service, paths on a file server): call it in a thread.
The walk along the path is made before every start; eight ``lstat`` calls (20 us measured) are cheaper than remembering
their results safely.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
from collections.abc import Iterator

from haagent.config.command_model import Command
from haagent.config.model import GlobalDefs
from haagent.effects.processes import TRUSTED_PATH, Account, CommandError, Launch

DEFAULT_USER = "keepalived_script"
MOST_LINKS = 40


def account_for(command: Command, defaults: GlobalDefs) -> Account:
    """Return the account of ``command``: its own user, else script_user, else keepalived_script, else ours.

    Raises CommandError if a name is unknown or we may not become it. May be slow: asks the name service.
    """
    if command.user is not None:
        user, group = command.user, command.group
    elif defaults.script_user is not None:
        user, group = defaults.script_user, defaults.script_group
    elif os.geteuid() == 0 and _exists(DEFAULT_USER):
        user, group = DEFAULT_USER, None
    else:
        return _own_account()
    account = _look_up(user, group)
    if account.uid != os.geteuid() and os.geteuid() != 0:
        raise CommandError(f"must run as user {user!r}, but haagent itself does not run as root")
    return account


def _own_account() -> Account:
    """Return ours, which may have no name: a container's user need not be in its files."""
    uid = os.geteuid()
    try:
        return _look_up(pwd.getpwuid(uid).pw_name, None)
    except KeyError:
        return Account(str(uid), uid, os.getegid(), tuple(os.getgroups()))


def _exists(user: str) -> bool:
    try:
        return bool(pwd.getpwnam(user))
    except KeyError:
        return False


def _look_up(user: str, group: str | None) -> Account:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise CommandError(f"user {user!r} does not exist on this host") from None
    try:
        gid = entry.pw_gid if group is None else grp.getgrnam(group.lstrip(":")).gr_gid
    except KeyError:
        raise CommandError(f"group {group!r} does not exist on this host") from None
    return Account(user, entry.pw_uid, gid, tuple(os.getgrouplist(user, gid)))


def find_program(command: Command) -> str:
    """Return the absolute path of the command's program; a bare name is looked up in the trusted path.

    keepalived's ``</path`` (can it be opened?) becomes a shell that opens it. Raises CommandError.
    """
    name = command.argv[0] if command.argv else ""
    if name.startswith("<"):
        return "/bin/bash" if name.startswith(("</dev/tcp/", "</dev/udp/")) else "/bin/sh"
    if "/" not in name:
        found = shutil.which(name, path=TRUSTED_PATH)
        if found is None:
            raise CommandError(f"{name!r} is not found in {TRUSTED_PATH}; write its full path")
        return found
    if not name.startswith("/"):
        raise CommandError(f"{name!r} is a relative path; write its full path")
    return name


def check_program(path: str, account: Account) -> None:
    """Raise CommandError unless ``path`` is an executable file that only root could have changed, if root runs it.

    Follows keepalived's rule for every directory and link that leads to the file, so also for those a symbolic link
    passes through: owned by root, not writable by others, nor by a group other than root's, unless it is a
    directory with the sticky bit.
    """
    steps = list(_steps(path))
    last_path, last = steps[-1]
    if not stat.S_ISREG(last.st_mode):
        raise CommandError(f"{last_path} is not a regular file")
    if not last.st_mode & 0o111:
        raise CommandError(f"{last_path} has no execute permission (chmod +x {last_path})")
    if account.uid != 0 and not (last.st_mode & stat.S_ISUID and last.st_uid == 0):
        return
    for where, status in steps:
        reason = _insecurity(status)
        if reason:
            raise CommandError(
                f"{last_path} would run as root, but {where} {reason}; only root may be able to change it"
            )


def _insecurity(status: os.stat_result) -> str:
    if status.st_uid != 0:
        return f"belongs to uid {status.st_uid}"
    if stat.S_ISLNK(status.st_mode) or (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX):
        return ""
    if status.st_mode & stat.S_IWOTH:
        return "is writable by everybody"
    if status.st_mode & stat.S_IWGRP and status.st_gid != 0:
        return f"is writable by group {status.st_gid}"
    return ""


def _steps(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every directory, link and at last the file that the kernel passes on its way to ``path``."""
    here, left, links = "/", [part for part in path.split("/") if part][::-1], 0
    yield here, _lstat(here)
    while left:
        part = left.pop()
        if part in (".", ".."):
            here = os.path.dirname(here) if part == ".." else here
            continue
        there = os.path.join(here, part)
        status = _lstat(there)
        yield there, status
        if not stat.S_ISLNK(status.st_mode):
            here = there
            continue
        links += 1
        if links > MOST_LINKS:
            raise CommandError(f"{path} leads through more than {MOST_LINKS} symbolic links")
        target = os.readlink(there)
        here = "/" if target.startswith("/") else here
        left.extend([piece for piece in target.split("/") if piece][::-1])


def _lstat(path: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None


def prepare(command: Command, defaults: GlobalDefs, extra: tuple[str, ...] = ()) -> Launch:
    """Return ``command`` with ``extra`` arguments, checked. May be slow. Raises CommandError."""
    account = account_for(command, defaults)
    program = find_program(command)
    check_program(program, account)
    if command.argv[0].startswith("<"):
        return Launch((program, "-c", ': <"$0"', command.argv[0][1:].strip()), account)
    return Launch((program, *command.argv[1:], *extra), account)
