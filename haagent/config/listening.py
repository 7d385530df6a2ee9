"""Where the agent answers over TCP: ``http`` and ``agent_check`` lines of the ``haagent`` block, and ``--http``.

Promise: nothing is listened on that was not asked for, and an address is one of this host, never a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from haagent.config.model import Configuration, Listen
from haagent.config.sections import Section
from haagent.config.tree import Statement
from haagent.errors import ConfigError, Place

ACCEPTED = "ADDRESS:PORT, such as 127.0.0.1:8405 or [::1]:8405"


def parse_listen(text: str, what: str, place: Place | None = None, subject: str = "") -> Listen:
    """Return ``ADDRESS:PORT``, an IPv6 address in brackets. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
        number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
        if (address.version == 6) is not bracketed or not 1 <= number <= 65535:
            raise ValueError
    except ValueError:
        raise ConfigError(f"{what} is {text!r}", place, ACCEPTED) from None
    return Listen(str(address), number, subject)


def read_http(section: Section) -> tuple[Listen, ...]:
    """Return every address of the ``http`` lines."""
    statements = section.all("http")
    return tuple(
        _collect(section, [(one, index, "") for one in statements for index in range(len(one.values))])
    )


def read_agent_checks(section: Section) -> tuple[Listen, ...]:
    """Return the ``agent_check`` lines, each with the instance or group it is about."""
    statements = section.all("agent_check")
    return tuple(
        _collect(section, [(one, 0, one.values[1].text if one.values[1:] else "") for one in statements])
    )


def _collect(section: Section, found: list[tuple[Statement, int, str]]) -> Iterator[Listen]:
    for statement, index, subject in found:
        token = statement.values[index]
        try:
            yield parse_listen(token.text, statement.keyword, token.place, subject)
        except ConfigError as error:
            section.messages.add(error)


def check_listens(configuration: Configuration) -> None:
    """Raise ConfigError for one address given twice, and for an agent-check about nobody."""
    daemon = configuration.daemon
    seen: set[tuple[str, int]] = set()
    subjects = {subject.name for subject in configuration.subjects}
    for listen in daemon.listens:
        if (listen.host, listen.port) in seen:
            raise ConfigError(f"http and agent_check: {listen} is given twice")
        seen.add((listen.host, listen.port))
        if listen.subject and listen.subject not in subjects:
            known = ", ".join(sorted(subjects)) or "none"
            raise ConfigError(
                f"agent_check {listen} is about {listen.subject!r}",
                None,
                f"an instance or sync group: {known}",
            )
