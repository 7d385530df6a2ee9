"""Which arbiter, and how it is reached: ``arbiter`` blocks, and the URLs of --arbiter and HAAGENT_ARBITER.

Both end in ``_complete``, so that a word means and is checked the same in either. A plugin that haagent does not
ship may have words of its own; a block of its kind takes any word with one value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote

from haagent.config import secrets
from haagent.config.lexer import Line, Token
from haagent.config.messages import ConfigErrors, Messages
from haagent.config.model import ArbiterConfig
from haagent.config.sections import Section
from haagent.config.tree import Statement
from haagent.config.values import duration
from haagent.errors import ConfigError, Place

NONE, QUORUM, FILE = "none", "quorum", "file"
SHIPPED = ("etcd", "zookeeper", FILE, "witness", "postgresql", "consul", "kubernetes")
_FINDS_ITSELF = ("kubernetes",)  # kinds that need no endpoint: a pod knows its cluster
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ENDPOINT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_TIMES = ("lease", "renew", "guard")
_PLAIN = ("ca", "cert", "key", "username")
_FORBIDDEN = ("password", "passwd", "secret", "token")
_SECRETS = ("password_file", "password_env")
_CONSUMED = frozenset({*_TIMES, *_SECRETS})
_WORDS = (*_TIMES, *_PLAIN, *_SECRETS)
_OWN = {  # words that only this kind has
    "etcd": ("server_name", "tls"),
    "zookeeper": ("chroot", "auth"),
    "witness": ("key_file", "server_name"),
    "postgresql": ("database", "schema", "tls"),
    "consul": ("datacenter", "tls"),
    "kubernetes": ("kubeconfig", "context", "namespace"),
}
_ALL_WORDS = tuple(dict.fromkeys((*_WORDS, *(word for own in _OWN.values() for word in own))))


@dataclass(frozen=True, slots=True)
class _Context:
    """What completing an arbiter needs besides its words."""

    place: Place
    environ: Mapping[str, str]
    messages: Messages


def parse_arbiter(text: str, environ: Mapping[str, str] = os.environ) -> ArbiterConfig:
    """Return the arbiter a name or URL means: ``none``, ``etcd``, ``etcd://HOST:PORT,HOST:PORT/DOMAIN?lease=2s&ca=FILE``.

    ``file:///PATH,/PATH?domain=NAME`` names voting files. ``%XX`` is decoded after splitting. Raises ConfigErrors.
    """
    messages = Messages()
    place = Place("--arbiter")
    try:
        found = _from_text(text, _Context(place, environ, messages))
    except ConfigError as error:
        messages.add(error)
        raise ConfigErrors(messages.errors, messages.warnings) from None
    messages.raise_errors()
    return found


def read_arbiter(
    statement: Statement, environ: Mapping[str, str], messages: Messages
) -> ArbiterConfig | None:
    """Return an ``arbiter KIND { ... }`` block, or None (with errors) if it is unusable."""
    context = _Context(statement.values[0].place, environ, messages)
    try:
        return _from_block(statement.values[0], statement.block, context)
    except ConfigError as error:
        messages.add(error)
        return None


def override(
    block: ArbiterConfig | None, text: str, environ: Mapping[str, str], messages: Messages
) -> ArbiterConfig | None:
    """Return what --arbiter makes of the block: a URL replaces it, a name changes its kind."""
    try:
        wanted = parse_arbiter(text, environ)
    except ConfigErrors as errors:
        messages.errors.extend(errors.errors)
        return None
    if "://" in text or wanted.kind == NONE:
        return wanted
    kept = wanted if block is None or block.kind == QUORUM else replace(block, kind=wanted.kind)
    try:
        _check_endpoints(kept.kind, list(kept.endpoints), kept.place)
    except ConfigError as error:
        messages.add(error)
    return kept


def _from_text(text: str, context: _Context) -> ArbiterConfig:
    place = context.place
    kind, separator, rest = text.partition("://")
    if not _KIND.fullmatch(kind):
        raise ConfigError(
            f"arbiter {kind[:40]!r}",
            place,
            f"none, {', '.join(SHIPPED)}, or a URL such as etcd://HOST:2379/DOMAIN",
        )
    if not separator:
        if kind == QUORUM:
            raise ConfigError(
                "an arbiter quorum cannot be named on the command line", place, "write an arbiter block"
            )
        return ArbiterConfig(kind, place=place)
    location, _, query = rest.partition("?")
    words = dict(_query_words(query, place))
    host_part, slash, path = location.partition("/")
    if "@" in host_part:
        raise ConfigError(
            "the arbiter's URL names a user or a password", place, "use ?username=NAME&password_file=FILE"
        )
    if kind == FILE:
        endpoints, domain = (slash + path if not host_part else location), words.pop("domain", "")
    else:
        endpoints, domain = host_part, unquote(path) or words.pop("domain", "")
    if "domain" in words:
        raise ConfigError("the arbiter's URL names two domains", place, "once, in the path")
    return _complete(kind, [unquote(one) for one in endpoints.split(",") if one], domain, words, context)


def _query_words(query: str, place: Place) -> Iterable[tuple[str, str]]:
    seen: set[str] = set()
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        name = unquote(name)
        if not equals or not value:
            raise ConfigError(f"{name!r} in the arbiter's URL has no value", place, "NAME=VALUE")
        if name in seen:
            raise ConfigError(f"{name!r} is given twice in the arbiter's URL", place)
        seen.add(name)
        yield name, unquote(value)


def _from_block(kind: Token, block: list[Statement] | None, context: _Context) -> ArbiterConfig:
    if kind.text == NONE:
        if block:
            raise ConfigError("arbiter none takes no block", kind.place)
        return ArbiterConfig(NONE, place=kind.place)
    if not _KIND.fullmatch(kind.text):
        raise ConfigError(
            f"arbiter {kind.text!r}", kind.place, "none, quorum, etcd, zookeeper, file, or a plugin's name"
        )
    if block is None:
        raise ConfigError(
            f"arbiter {kind.text} needs a block", kind.place, f"arbiter {kind.text} {{ endpoints ... }}"
        )
    if kind.text == QUORUM:
        return _quorum(kind, Section(QUORUM, block, context.messages), context)
    own: dict[str, str] = {}
    if kind.text not in SHIPPED:
        block, own = _split_own_words(block)
    section = Section("arbiter", block, context.messages)
    endpoints = [word.text for one in section.all("endpoints") for word in one.values]
    domain = section.value("domain", lambda one: one.values[0].text, "")
    words = {
        name: section.value(name, lambda one: one.values[0].text, "")
        for name in _ALL_WORDS
        if name in section
    }
    return _complete(kind.text, endpoints, domain, own | words, replace(context, place=kind.place))


def _split_own_words(block: list[Statement]) -> tuple[list[Statement], dict[str, str]]:
    """Separate a foreign plugin's own words (one value each) from those every arbiter has."""
    common = {*_WORDS, "endpoints", "domain"}
    own = [one for one in block if one.keyword not in common and one.block is None and len(one.values) == 1]
    return [one for one in block if one not in own], {one.keyword: one.values[0].text for one in own}


def _quorum(kind: Token, section: Section, context: _Context) -> ArbiterConfig:
    """Return a quorum; its members share its domain."""
    domain = section.value("domain", lambda one: one.values[0].text, "")
    statements = [one for member in SHIPPED for one in section.all(member)]
    members = [_from_block(one.words[0], one.block, context) for one in statements]
    if not members:
        raise ConfigError(
            "arbiter quorum has no members", kind.place, "etcd { ... }, zookeeper { ... } or file { ... }"
        )
    if len(members) % 2 == 0:
        context.messages.warning(
            f"a quorum of {len(members)} arbiters survives no more failures than one of {len(members) - 1}",
            kind.place,
            "use an odd number",
        )
    words = {
        name: section.value(name, lambda one: one.values[0].text, "") for name in _TIMES if name in section
    }
    whole = _complete(QUORUM, [], domain, words, replace(context, place=kind.place))
    shared = tuple(replace(member, domain=whole.domain) for member in members) if domain else tuple(members)
    return replace(whole, members=shared)


def _complete(
    kind: str, endpoints: list[str], domain: str, words: Mapping[str, str], context: _Context
) -> ArbiterConfig:
    """Check the words of a block or URL and return what they mean; secrets are read here. Raises ConfigError."""
    place = context.place
    _check_words(kind, words, place)
    _check_endpoints(kind, endpoints, place)
    if domain and not _DOMAIN.fullmatch(domain):
        raise ConfigError(
            f"domain {domain!r}", place, "letters, digits, dots, dashes and underscores, at most 64"
        )
    times = {name: duration(_token(words[name], place), name) for name in _TIMES if name in words}
    settings = [(name, text) for name, text in sorted(words.items()) if name not in _CONSUMED]
    return ArbiterConfig(
        kind=kind,
        endpoints=tuple(endpoints),
        domain=domain or "haagent",
        lease=times.get("lease"),
        renew=times.get("renew"),
        guard=times.get("guard"),
        settings=(*settings, *_password(words, context)),
        place=place,
        password_from=next(((name, words[name]) for name in _SECRETS if name in words), None),
    )


def _check_words(kind: str, words: Iterable[str], place: Place) -> None:
    for name in words:
        if name in _FORBIDDEN:
            raise ConfigError(f"{name} is written in the open", place, "use password_file or password_env")
        accepted = (*_WORDS, *_OWN.get(kind, ()))
        if kind in SHIPPED and name not in accepted:
            raise ConfigError(
                f"arbiter {kind} has no word {name!r}", place, "one of " + ", ".join(("domain", *accepted))
            )


def _check_endpoints(kind: str, endpoints: list[str], place: Place) -> None:
    for endpoint in endpoints:
        _check_endpoint(kind, endpoint, place)
    if kind in SHIPPED and kind not in _FINDS_ITSELF and not endpoints:
        raise ConfigError(f"arbiter {kind} has no endpoints", place, "at least one")
    if len(set(endpoints)) != len(endpoints):
        raise ConfigError(f"arbiter {kind} names an endpoint twice", place)


def _check_endpoint(kind: str, endpoint: str, place: Place) -> None:
    if kind == FILE:
        if not endpoint.startswith("/") or "\0" in endpoint:
            raise ConfigError(f"voting file {endpoint!r}", place, "an absolute path")
    elif kind in SHIPPED:
        match = _ENDPOINT.fullmatch(endpoint)
        if match is None or not 0 < int(match.group(2) or 1) < 65536:
            raise ConfigError(
                f"endpoint {endpoint!r}", place, "HOST:PORT, for example 10.0.0.1:2379 or [2001:db8::1]:2379"
            )


def _password(words: Mapping[str, str], context: _Context) -> tuple[tuple[str, str], ...]:
    place = context.place
    if "password_file" in words and "password_env" in words:
        raise ConfigError("password_file and password_env are both given", place, "one of them")
    if "password_file" in words:
        return (
            ("password", secrets.from_file(words["password_file"], "password_file", place, context.messages)),
        )
    if "password_env" in words:
        return (
            (
                "password",
                secrets.from_environment(words["password_env"], "password_env", place, context.environ),
            ),
        )
    return ()


def _token(text: str, place: Place) -> Token:
    """Return a word that did not come from a line, for the value readers."""
    return Token(
        text, Line(text, place.file, place.line, exact=False), max(0, place.column - 1), place.column, False
    )
