"""The Docker engine the containers run in: the machine's own if one answers, else a private one.

A private engine has namespaces of its own: mounts and processes always, the network while containers run. So its
bridges, iptables rules, mounts and processes end with it, also when this program is killed. Its cgroups and its data
are removed when it ends in order. It starts no service, reads no configuration of the machine's own engine, and is
reached by a socket in a directory that only root may enter.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from haagent.lab.namespaces import LabError

START = 60.0  # s an engine may take until it answers
END = 20.0  # s its processes may take to be gone
LINES = 20  # of what a failed command said
PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
# A process, with all it starts, that ends with this program and sees no other; its mounts end with it.
ALONE = (
    "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
)  # fmt: skip
# Names that dockerd and containerd have built in, whatever their options say.
BUILT_IN = ("/run/containerd", "/run/docker", "/etc/docker", "/opt/containerd")
# bash stays, as process 1 of its namespace: it reaps what containers leave behind.
BEGIN = """
set -e
hidden=$1; shift
for one in $hidden; do mount -t tmpfs tmpfs "$one"; done
dockerd "$@" & wait $!
"""
# No bridge, no rules, no forwarding: it only builds, in the machine's own network, and changes nothing there.
ONLINE = ("--bridge", "none", "--iptables=false", "--ip-forward=false")


class NoEngineError(LabError):
    """This machine cannot run a Docker engine, for a reason that is not ours."""


def call(
    argv: Sequence[str | Path],
    timeout: float,
    environment: dict[str, str] | None = None,
    stdin: int | None = None,
) -> str:
    """Run a command and return its output. Raises LabError with the last of what it said."""
    name = f"{' '.join(map(str, argv[:4]))} ..."
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=timeout, check=False, env=environment, stdin=stdin
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{name}: not done after {timeout:g} s") from None
    except OSError as error:
        raise LabError(f"{name}: {error}") from None
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-LINES:])
        raise LabError(f"{name}: status {done.returncode}:\n{said}")
    return done.stdout


@dataclass(frozen=True)
class Engine:
    """One that answers. ``address``: its socket, None for the one that docker asks by itself."""

    address: str | None = None
    build_options: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Return what docker and docker-compose need in their environment to ask this engine."""
        address = {"DOCKER_HOST": self.address} if self.address else {}
        return {**os.environ, "PATH": PATH, **address}

    def __call__(self, *words: str | Path, timeout: float = 60, stdin: int | None = None) -> str:
        """Run one docker command. Raises LabError."""
        return call(("docker", *words), timeout, self.environment, stdin)

    def answers(self) -> bool:
        """Ask whether it is there."""
        try:
            self("version", "--format", "{{.Server.Version}}", timeout=20)
        except LabError:
            return False
        return True

    def image(self, name: str) -> str | None:
        """Return an image's identifier, None if there is none of this name."""
        try:
            return self("image", "inspect", "--format", "{{.Id}}", name).strip()
        except LabError:
            return None


@contextmanager
def private_engine(directory: Path, *, online: bool) -> Iterator[Engine]:
    """Run an engine with its data below ``directory`` until the block ends.

    ``online``: in the machine's network, and only to build; else alone in one of its own. The directory's name is
    that of the cgroup as well: nobody else's. Raises NoEngineError.
    """
    engine = Engine(f"unix://{directory}/docker.sock", ("--network", "host") if online else ())
    options = [
        "--data-root", f"{directory}/data", "--exec-root", f"{BUILT_IN[0]}/engine", "--pidfile", f"{BUILT_IN[0]}/engine.pid",
        "--host", str(engine.address), "--group", "root",
        "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{directory.name}", *(ONLINE if online else ()),
    ]  # fmt: skip
    network = () if online else ("--net",)
    argv = [*ALONE, *network, "bash", "-c", BEGIN, "bash", " ".join(BUILT_IN), *options]
    log = directory / "dockerd.log"
    with _mount_points(), log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=engine.environment,
        )
        try:
            _wait(engine, process, log)
            yield engine
        finally:
            _end(process, directory.name)


@contextmanager
def _mount_points() -> Iterator[None]:
    """Make the directories that are hidden from the engine, and remove those that were not there."""
    made = [Path(one) for one in BUILT_IN if not Path(one).exists()]
    for one in made:
        one.mkdir(parents=True)
    try:
        yield
    finally:
        for one in made:
            with suppress(OSError):
                one.rmdir()


def _wait(engine: Engine, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START
    while not engine.answers():
        if process.poll() is not None or time.monotonic() > until:
            said = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise NoEngineError(
                f"no Docker engine can be started here: {' / '.join(said) or 'it says nothing'}"
            )
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes], cgroup: str) -> None:
    """End process 1 of the namespace, with which all others end, and remove the cgroups they were in."""
    trees = [Path(mount, cgroup) for mount in _cgroup_mounts() if Path(mount, cgroup).is_dir()]
    for tree in trees:  # a frozen process cannot die
        for name, thawed in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            for file in tree.rglob(name):
                with suppress(OSError):
                    file.write_text(thawed)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with suppress(OSError):
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)
    try:
        process.wait(END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for tree in trees:
        _remove(tree)


def _cgroup_mounts() -> list[str]:
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [where for _, where, kind, *_ in lines if kind in {"cgroup", "cgroup2"}]


def _remove(tree: Path) -> None:
    """Remove a cgroup with those below it; the kernel refuses as long as a process in it is ending."""
    until = time.monotonic() + END
    while tree.exists():
        for directory, _, _ in os.walk(tree, topdown=False):
            with suppress(OSError):
                os.rmdir(directory)
        if time.monotonic() > until:
            raise LabError(f"{tree} cannot be removed: something still runs in it")
        time.sleep(0.05)


def compose_command() -> list[str]:
    """Return docker-compose's name, or the v2 plugin's. Raises LabError if there is neither."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    try:
        call(("docker", "compose", "version"), 20)
    except LabError:
        raise LabError("not installed: docker-compose, or the compose plugin") from None
    return ["docker", "compose"]
