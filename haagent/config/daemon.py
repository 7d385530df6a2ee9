"""haagent's own blocks besides ``arbiter``: ``haagent { ... }`` and ``peers { ... }``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, cast

from haagent.config import secrets
from haagent.config.lexer import Token
from haagent.config.listening import read_agent_checks, read_http
from haagent.config.model import Daemon, Peer, Peers
from haagent.config.sections import Section
from haagent.config.tree import Statement
from haagent.config.values import address, choice, duration, integer
from haagent.errors import ConfigError, Place

PORT = 5405
_LEAST_KEY = 16
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NODE_RULE = "letters, digits, dots, dashes and underscores, at most 64"
_GATES = ("auto", "required", "bpf", "nftables", "lifetime", "off")
_FORMATS = ("auto", "human", "json")
_LEVELS = ("debug", "info", "warning", "error")


def read_daemon(section: Section, host_name: str, node: str | None = None) -> Daemon:
    """Return the ``haagent`` block. ``node`` overrides its name; a node without any is called like its host."""
    gate = section.value("gate", lambda one: choice(one.values[0], _GATES, "gate"), "auto")
    log_format = section.value(
        "log_format", lambda one: choice(one.values[0], _FORMATS, "log_format"), "auto"
    )
    if node is not None and not _NODE.fullmatch(node):
        section.messages.error(f"node is {node!r}", Place("--node"), _NODE_RULE)
    return Daemon(
        node=node or section.value("node", lambda one: node_name(one.values[0]), host_name),
        gate=cast("Literal['auto', 'required', 'bpf', 'nftables', 'lifetime', 'off']", gate),
        control_socket=section.value("control_socket", lambda one: _absolute(one.values[0]), ""),
        minimum_tenure=section.value(
            "minimum_tenure", lambda one: duration(one.values[0], "minimum_tenure"), 0
        ),
        log_level=section.value("log_level", lambda one: choice(one.values[0], _LEVELS, "log_level"), "info"),
        log_format=cast("Literal['auto', 'human', 'json']", log_format),
        http=read_http(section),
        agent_checks=read_agent_checks(section),
    )


def read_peers(section: Section, blocks: list[Statement], own_node: str) -> Peers | None:
    """Return the ``peers`` block, without this node itself, so that every node may have the same file."""
    if not blocks:
        return None
    nodes = list(_nodes(section))
    if not any(node.node != own_node for node in nodes):
        section.messages.error("peers names no other node", blocks[0].place, "node NAME ADDRESS ...")
    if "key_file" not in section:
        section.messages.error(
            "peers has no key_file",
            blocks[0].place,
            "a file with at least 16 characters, the same on every node",
        )
    return Peers(
        nodes=tuple(node for node in nodes if node.node != own_node),
        port=section.value("port", lambda one: integer(one.values[0], 1, 65535, "port"), PORT),
        key=section.value("key_file", lambda one: _key(one, section), b""),
        listen=tuple(
            _addresses((word for one in section.all("listen") for word in one.values), section, "listen")
        ),
        failsafe=section.flag("failsafe", True),
        lists_this_node=any(node.node == own_node for node in nodes),
        place=blocks[0].place,
    )


def _nodes(section: Section) -> Iterable[Peer]:
    seen: set[str] = set()
    used: dict[str, str] = {}
    for statement in section.all("node"):
        try:
            name = node_name(statement.values[0])
        except ConfigError as error:
            section.messages.add(error)
            continue
        if name in seen:
            section.messages.error(
                f"node {name} is given twice", statement.place, "all addresses of a node on one line"
            )
        seen.add(name)
        addresses = tuple(_addresses(statement.values[1:], section, f"address of {name}"))
        for one in addresses:
            if used.setdefault(one, name) != name:
                section.messages.error(f"{one} is an address of {used[one]} and of {name}", statement.place)
        yield Peer(name, addresses)


def _addresses(words: Iterable[Token], section: Section, what: str) -> Iterable[str]:
    for word in words:
        try:
            yield str(address(word, what))
        except ConfigError as error:
            section.messages.add(error)


def node_name(token: Token) -> str:
    """Return a node's name, which becomes part of a register's name."""
    if not _NODE.fullmatch(token.text):
        raise ConfigError(
            f"node is {token.text!r}",
            token.place,
            _NODE_RULE,
        )
    return token.text


def _absolute(token: Token) -> str:
    if not token.text.startswith("/") or len(token.text.encode()) > 107:
        raise ConfigError(
            f"control_socket is {token.text!r}", token.place, "an absolute path of at most 107 bytes"
        )
    return token.text


def _key(statement: Statement, section: Section) -> bytes:
    token = statement.values[0]
    key = secrets.from_file(token.text, "key_file", token.place, section.messages).encode()
    if len(key) < _LEAST_KEY:
        raise ConfigError(
            f"the key in {token.text} has {len(key)} characters", token.place, f"at least {_LEAST_KEY}"
        )
    return key
