"""Which commands may run, and what is said about those that may not."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from haagent.config.command_model import Command
from haagent.config.model import GlobalDefs
from haagent.effects.commands import account_for, check_program, find_program, prepare
from haagent.effects.processes import CommandError

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: checks what root may run")
ROOT = GlobalDefs(script_user="root")


@pytest.fixture
def safe(tmp_path_factory):
    """A directory that only root can have changed: pytest's own lies below a sticky one, which counts as safe."""
    base = tmp_path_factory.mktemp("safe")
    base.chmod(0o755)
    return base


def script(path: Path, text: str = "#!/bin/sh\nexit 0\n", mode: int = 0o755) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def check(path: Path | str) -> None:
    check_program(str(path), account_for(Command(("x",)), ROOT))


@pytest.mark.parametrize("program", ["/bin/sh", "/bin/true", "/usr/bin/env", "/sbin/ldconfig"])
@root_only
def test_programs_of_a_merged_usr_system_pass(program):
    check(program)


@root_only
def test_a_safe_script_passes(safe):
    check(script(safe / "ok.sh"))


@root_only
@pytest.mark.parametrize(
    ("mode", "gid", "words"), [(0o757, 0, "writable by everybody"), (0o775, 12, "writable by group 12")]
)
def test_a_script_others_can_write_is_refused(safe, mode, gid, words):
    path = script(safe / "bad.sh")
    os.chown(path, 0, gid)
    path.chmod(mode)
    with pytest.raises(CommandError, match=words):
        check(path)


@root_only
def test_a_group_writable_script_of_roots_group_passes(safe):
    check(script(safe / "ok.sh", mode=0o775))


@root_only
def test_a_script_of_another_user_is_refused_for_root_but_not_for_that_user(safe):
    path = script(safe / "theirs.sh")
    nobody = pwd.getpwnam("nobody")
    os.chown(path, nobody.pw_uid, 0)
    with pytest.raises(CommandError, match="belongs to uid"):
        check(path)
    check_program(str(path), account_for(Command(("x",), user="nobody"), GlobalDefs()))


@root_only
def test_a_writable_directory_on_the_way_is_refused_unless_sticky(safe):
    middle = safe / "middle"
    middle.mkdir()
    path = script(middle / "a.sh")
    middle.chmod(0o777)
    with pytest.raises(CommandError, match=f"{middle} is writable by everybody"):
        check(path)
    middle.chmod(0o1777)
    check(path)


@root_only
def test_a_link_is_as_safe_as_every_directory_it_passes(safe):
    target = script(safe / "target.sh")
    loose = safe / "loose"
    loose.mkdir()
    (loose / "link.sh").symlink_to(target)
    loose.chmod(0o777)
    with pytest.raises(CommandError, match="loose is writable"):
        check(loose / "link.sh")
    loose.chmod(0o755)
    check(loose / "link.sh")


@root_only
def test_a_link_that_another_user_owns_in_a_sticky_directory_is_refused(safe):
    target, sticky = script(safe / "target.sh"), safe / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    link = sticky / "link.sh"
    link.symlink_to(target)
    os.lchown(link, 65534, 65534)
    with pytest.raises(CommandError, match=r"link\.sh belongs to uid 65534"):
        check(link)


@root_only
def test_a_setuid_root_program_is_checked_whoever_runs_it(safe):
    path = script(safe / "suid", mode=0o4757)
    with pytest.raises(CommandError, match="writable by everybody"):
        check_program(str(path), account_for(Command(("x",), user="nobody"), GlobalDefs()))


def test_relative_links_and_dots_lead_where_the_kernel_goes(safe):
    (safe / "a").mkdir()
    script(safe / "b.sh")
    (safe / "a" / "link").symlink_to("../b.sh")
    check_program(f"{safe}/a/./../a/link", account_for(Command(("x",)), GlobalDefs()))


def test_a_loop_of_links_ends(safe):
    (safe / "x").symlink_to(safe / "y")
    (safe / "y").symlink_to(safe / "x")
    with pytest.raises(CommandError, match="more than 40 symbolic links"):
        check(safe / "x") if os.geteuid() == 0 else check_program(
            str(safe / "x"), account_for(Command(("x",)), GlobalDefs())
        )


@root_only
def test_what_is_missing_or_not_executable_says_so(safe):
    with pytest.raises(CommandError, match=r"gone\.sh: No such file"):
        check(safe / "gone.sh")
    with pytest.raises(CommandError, match=r"no execute permission \(chmod \+x"):
        check(script(safe / "plain.sh", mode=0o644))
    with pytest.raises(CommandError, match="is not a regular file"):
        check(safe)


def test_users_are_found_in_keepalived_s_order():
    defaults = GlobalDefs(script_user="nobody")
    if os.geteuid() != 0:
        pytest.skip("needs root to become others")
    assert account_for(Command(("x",), user="daemon"), defaults).name == "daemon"
    assert account_for(Command(("x",)), defaults).name == "nobody"
    try:
        fallback = pwd.getpwnam("keepalived_script").pw_name
    except KeyError:
        fallback = "root"
    assert account_for(Command(("x",)), GlobalDefs()).name == fallback


def test_a_group_replaces_the_users_own():
    if os.geteuid() != 0:
        pytest.skip("needs root to become others")
    assert account_for(Command(("x",), user="nobody", group="daemon"), GlobalDefs()).gid == 1


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (Command(("x",), user="no-such-user"), "user 'no-such-user' does not exist"),
        (Command(("x",), user="root", group="no-such-group"), "group 'no-such-group' does not exist"),
        (Command(("./x",)), "relative path"),
        (Command(("no-such-program-here",)), "not found in"),
    ],
)
def test_names_that_mean_nothing_are_refused(command, words):
    with pytest.raises(CommandError, match=words):
        prepare(command, GlobalDefs())


def test_a_bare_name_is_looked_up_in_the_trusted_path_only(monkeypatch, safe):
    script(safe / "true")
    monkeypatch.setenv("PATH", str(safe))
    assert find_program(Command(("true",))) in ("/usr/bin/true", "/bin/true")


NAMELESS = """
from haagent.config.command_model import Command
from haagent.config.model import GlobalDefs
from haagent.effects.commands import account_for
print(account_for(Command(("x",)), GlobalDefs()))
"""


@root_only
def test_an_agent_whose_user_has_no_name_runs_commands_as_itself() -> None:
    argv = ["setpriv", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--reuid=54321",
            "--regid=54322", "--clear-groups", sys.executable, "-c", NAMELESS]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout == "Account(name='54321', uid=54321, gid=54322, groups=())\n", done.stderr
