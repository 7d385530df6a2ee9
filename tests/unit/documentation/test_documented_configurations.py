"""Every configuration and every arbiter's URL on the pages is taken without an error or a warning, and its timing is safe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.agent.parameters import timing
from haagent.config.arbiters import parse_arbiter
from haagent.config.load import load
from tests.unit.documentation.pages import PAGES, ROOT, blocks, name

# Of these a page may show one block alone; the rest of a configuration is added.
_BEGINNING = re.compile(r"(global_defs|vrrp_\w+|track_\w+|arbiter|peers|haagent)\b[^{]*\{")
_BODY = """
    interface eth0
    virtual_router_id {vrid}
    virtual_ipaddress {{
        192.0.2.{vrid}/24
    }}
"""
_PEERS = "peers {\n    key_file /etc/haagent/peers.key\n    node a 192.0.2.1\n    node b 192.0.2.2\n}"
_ARBITER = "arbiter etcd {\n    endpoints etcd1:2379\n}"
_SECRET = re.compile(r"/etc/haagent/[\w.-]+")
_URL = re.compile(r"\b(?:etcd|zookeeper|file|postgresql|consul|kubernetes|witness|sqlite)://[^\s'`|]+")


def statements(block: str) -> Iterator[str]:
    """Yield the configuration's top-level blocks in a block of code."""
    found: list[str] = []
    for line in block.split("\n"):
        if found or _BEGINNING.match(line):
            found.append(line)
        text = "\n".join(one.partition("#")[0] for one in found)
        if found and text.count("{") == text.count("}"):
            yield "\n".join(found)
            found = []


def completed(parts: list[str]) -> str:
    """Return a whole configuration: what the page leaves out of its instances is put in, and what has to be beside it."""
    whole, names = [], {part.split()[0] for part in parts}
    for number, part in enumerate(parts, start=60):
        body = _BODY.format(vrid=number)
        if part.startswith("vrrp_instance") and "virtual_router_id" not in part:
            part = part.replace("    ...\n", "").replace("{\n", "{" + body, 1)  # noqa: PLW2901
        whole.append(part)
    if "vrrp_instance" not in names:
        whole.append(f"vrrp_instance web_a {{{_BODY.format(vrid=51)}}}")
    if "track_peer" in names and "peers" not in names:
        whole.append(_PEERS)
    if names & {"track_peer", "peers"} and "arbiter" not in names:
        whole.append(_ARBITER)
    return "\n".join(whole) + "\n"


def with_secrets(text: str, directory: Path) -> str:
    """Return ``text`` with files below /etc/haagent in ``directory``; they are made, and hold a secret."""
    for path in set(_SECRET.findall(text)):
        file = directory / Path(path).name
        file.write_text("x" * 32 + "\n")
        file.chmod(0o600)
    return text.replace("/etc/haagent/", f"{directory}/")


EXAMPLES = [
    pytest.param(completed(parts), id=f"{name(page)}-{number}")
    for page in PAGES
    for number, block in enumerate(blocks(page))
    if (parts := list(statements(block)))
]
URLS = sorted({url for page in PAGES for url in _URL.findall(page.read_text()) if "..." not in url})


def test_there_are_some_on_the_pages() -> None:
    assert len(EXAMPLES) >= 15
    assert len(URLS) >= 8


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_configuration_is_taken_without_a_word(text: str, tmp_path: Path) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_text(with_secrets(text, tmp_path))
    configuration = load([file], config_id="a", environ={})
    assert not configuration.warnings
    timing(configuration)  # says what is not safe


@pytest.mark.parametrize("url", URLS)
def test_an_arbiters_url_is_taken(url: str, tmp_path: Path) -> None:
    assert parse_arbiter(with_secrets(url, tmp_path), {}).kind == url.partition(":")[0]


COMPOSE = ROOT / "compose" / "config"


@pytest.mark.parametrize("arbiter", sorted(COMPOSE.glob("arbiter-*.conf")), ids=lambda path: path.stem)
@pytest.mark.parametrize(("peers", "nodes"), [("two", 2), ("three", 3)])
def test_every_node_of_the_deployment_takes_its_files(
    arbiter: Path, peers: str, nodes: int, tmp_path: Path
) -> None:
    files = []
    for source in (COMPOSE / "keepalived.conf", arbiter, COMPOSE / f"peers-{peers}.conf"):
        files.append(tmp_path / source.name)
        files[-1].write_text(with_secrets(source.read_text(), tmp_path))
    for number in range(1, nodes + 1):
        assert not load(files, config_id=f"node{number}", environ={}).warnings
