"""The images of compose/, from what this machine already uses: its package mirror, its certificates, pip's settings.

Names no mirror and no registry. Writes below the directory it is given and into the engine, nowhere else.
"""

from __future__ import annotations

import configparser
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from haagent.lab.namespaces import LabError
from tests.containers.engine import ALONE, Engine, NoEngineError, call

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("pyproject.toml", "README.md", "LICENSE", "haagent", "arbiters", "compose")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".mypy_cache", "peers.key", "ca.crt", "pip.conf")
TARGETS = {"haagent": "haagent-compose", "zookeeper": "haagent-compose-zookeeper"}
OWN_BASE = "haagent-base"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# Of pip's settings those that say where packages come from; paths of this machine mean nothing in a container.
PIP_SETTINGS = frozenset({"index-url", "extra-index-url", "trusted-host", "timeout", "default-timeout"})
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
# debootstrap does not bear a space in a path: it gets one that has none.
AT_MNT = 'mount --bind "$1" /mnt; shift; exec debootstrap "$@"'
PULL, BOOTSTRAP, BUILD = 120, 600, 900  # s


def copy_sources(directory: Path) -> Path:
    """Copy what the images are made of, with a new key for the nodes; return where. The checkout stays as it is."""
    tree = directory / "tree"
    tree.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=LEFT_OUT)
        else:
            shutil.copy(ROOT / name, tree)
    compose = tree / "compose"
    (compose / "config" / "peers.key").write_text(secrets.token_hex(32))
    settings = pip_settings(call((sys.executable, "-m", "pip", "config", "list"), 60))
    bundle = Path(settings.pop("cert", os.environ.get("SSL_CERT_FILE", BUNDLE)))
    if bundle.is_file():
        shutil.copy(bundle, compose / "ca.crt")
    if settings:
        written = configparser.RawConfigParser()
        written["global"] = settings
        with (compose / "pip.conf").open("w") as file:
            written.write(file)
    return tree


def pip_settings(listing: str) -> dict[str, str]:
    """Read ``pip config list``; later lines outrank earlier ones. URLs of this machine's own files are left out."""
    kept = {}
    for name, value in re.findall(r"^\S+\.([a-z-]+)='(.*)'$", listing, re.MULTILINE):
        words = [
            word for word in value.replace("\\n", " ").split() if "://" not in word or word.startswith("http")
        ]
        if words and (name == "cert" or name in PIP_SETTINGS):
            kept[name] = " ".join(words)
    return kept


def package_source(listing: str, suite: str) -> tuple[str, list[str]]:
    """Return the mirror and the components of ``suite`` from lines "site release component".

    The mirror is empty if debootstrap cannot use it: its own default is as good as any.
    """
    lines = [words for line in listing.splitlines() if len(words := line.split()) == 3 and words[1] == suite]
    if not lines:
        raise LabError(f"apt knows no packages of {suite}; found: {listing.strip() or 'nothing'}")
    site = lines[0][0]
    components = sorted({component for where, _, component in lines if where == site})
    return (site if site.startswith(("http://", "https://")) else ""), components


def make_base(engine: Engine, directory: Path, dockerfile: str) -> tuple[str, str]:
    """Have the image the Dockerfile starts from, or one like it from this machine's mirror; return its name and origin."""
    found = re.search(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)
    if found is None:
        raise LabError("compose/Dockerfile names no ARG BASE")
    if engine.image(found[1]):
        return found[1], "there already"
    try:
        engine("pull", "--quiet", found[1], timeout=PULL)
    except LabError:
        return OWN_BASE, bootstrap(engine, directory)
    return found[1], "pulled"


def bootstrap(engine: Engine, directory: Path) -> str:
    """Import this machine's own distribution, at its smallest, as OWN_BASE; return its suite."""
    if os.geteuid() != 0:
        raise LabError("the base image can neither be pulled nor, without root, be made by debootstrap")
    call((ROOT / "scripts" / "install-system-packages", "containers"), BOOTSTRAP)
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    form = "$(SITE) $(RELEASE) $(COMPONENT)"
    site, components = package_source(
        call(("apt-get", "indextargets", "--format", form, "Created-By: Packages"), 60), suite
    )
    root = directory / "rootfs"
    options = ("--variant=minbase", "--include=ca-certificates", f"--components={','.join(components)}")
    debootstrap = (*options, suite, "/mnt", *([site] if site else []))
    try:
        root.mkdir()
        words = (*ALONE, "bash", "-ec", AT_MNT, "bash", str(root), *debootstrap)
        call(words, BOOTSTRAP, engine.environment)
        for clean in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(root / clean)
        # as in the images of registries: a build that is cut short is thrown away
        (root / "etc" / "dpkg" / "dpkg.cfg.d" / "build").write_text("force-unsafe-io\n")
        with subprocess.Popen(("tar", "-C", root, "-c", "."), stdout=subprocess.PIPE) as tar:
            assert tar.stdout is not None
            engine("import", "-", OWN_BASE, timeout=BOOTSTRAP, stdin=tar.stdout.fileno())
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return f"debootstrap {suite}"


def try_one(engine: Engine, base: str) -> None:
    """Start one container that does nothing. Raises NoEngineError: an engine that cannot is none."""
    try:
        engine("run", "--rm", "--network", "none", base, "true")
    except LabError as error:
        raise NoEngineError(f"the Docker engine starts no container here: {error}") from None


def build(engine: Engine, tree: Path, base: str, target: str) -> None:
    """Build one target of the Dockerfile under the name compose.yaml knows."""
    # a proxy's value may hold a password: only its name is on the command line
    proxies = (word for name in PROXIES if name in os.environ for word in ("--build-arg", name))
    engine(
        "build", *engine.build_options, *proxies, "--build-arg", f"BASE={base}", "--target", target,
        "--tag", TARGETS[target], "--file", tree / "compose" / "Dockerfile", tree, timeout=BUILD,
    )  # fmt: skip


@contextmanager
def images_put_back(engine: Engine, targets: Sequence[str]) -> Iterator[None]:
    """Leave an engine that is not ours with the images it had."""
    names = [*(TARGETS[target] for target in targets), OWN_BASE]
    before = {name: engine.image(name) for name in names}
    try:
        yield
    finally:
        for name, identifier in before.items():
            if engine.image(name) not in {None, identifier}:
                engine("image", "rm", "--force", name)
                if identifier is not None:
                    engine("tag", identifier, name)
