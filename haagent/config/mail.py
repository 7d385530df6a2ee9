"""global_defs about mail: to whom, from whom, by which server. No name is resolved here."""

from __future__ import annotations

import platform

from haagent.config.model import Mail
from haagent.config.sections import Section
from haagent.config.values import integer
from haagent.core.units import SECOND

_PORT = 25


def read_mail(section: Section) -> Mail | None:
    """Return where mail goes; None without a recipient. The server is this host unless one is named."""
    recipients = tuple(word.text for word in section.words("notification_email"))
    if not recipients:
        return None
    server = section.one("smtp_server")
    words = server.values if server else []
    host = platform.node()
    return Mail(
        server=words[0].text if words else "127.0.0.1",
        port=section.value(
            "smtp_server", lambda one: integer(one.values[1], 1, 65535, "smtp_server's port"), _PORT
        )
        if len(words) > 1
        else _PORT,
        sender=section.value("notification_email_from", lambda one: one.values[0].text, f"keepalived@{host}"),
        recipients=recipients,
        router=section.value("router_id", lambda one: one.values[0].text, host),
        helo=section.value("smtp_helo_name", lambda one: one.values[0].text, ""),
        timeout=section.seconds("smtp_connect_timeout", 1, 3600, 30 * SECOND),
        no_faults=section.flag("no_email_faults"),
    )
