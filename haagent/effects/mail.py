"""Mail about changes of state: a reader of reports that hands messages to one SMTP server.

Promises: ``read`` returns at once; one thread sends, one message after the other, so that a slow server delays other
mail and nothing else; of more than ``MOST_WAITING`` waiting messages the newest is dropped, and that is told, like
every message the server did not take. Messages are not tried again: mail is for people who will look themselves.

May not decide anything. Subjects and texts are keepalived's, for filters that know them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import smtplib
import threading
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from haagent.config.model import Configuration, Mail
from haagent.core.reports import Noticed, Report, State, StateChanged
from haagent.core.units import to_seconds
from haagent.effects.processes import in_thread

MOST_WAITING = 64
CLOSING_PATIENCE = 2.0  # seconds
_INSTANCE = {
    State.MASTER: "=> VRRP Instance is now owning VRRP VIPs <=",
    State.BACKUP: "=> VRRP Instance is nolonger owning VRRP VIPs <=",
    State.FAULT: "=> VRRP Instance is nolonger owning VRRP VIPs <=",
}
_GROUP = "=> All VRRP group instances are now in {state} state <="


class Mailer:
    """The mail of one node. All methods belong to the event loop's thread."""

    def __init__(self, configuration: Configuration, tell: Callable[[Report], None]) -> None:
        self._configuration, self._tell = configuration, tell
        self._waiting: queue.Queue[tuple[Mail, EmailMessage] | None] = queue.Queue(MOST_WAITING)
        self._loop = asyncio.get_running_loop()
        self._thread: threading.Thread | None = None

    def read(self, report: Report) -> None:
        """Send what ``report`` means for people, if it is configured to be sent."""
        mail = self._configuration.globals.mail
        if not isinstance(report, StateChanged) or mail is None or report.new not in _INSTANCE:
            return
        if report.new is State.FAULT and mail.no_faults:
            return
        owners = self._configuration.groups if report.group else self._configuration.instances
        if any(owner.name == report.instance and owner.smtp_alert for owner in owners):
            self._queue(mail, _message(mail, report))

    def reconfigure(self, configuration: Configuration) -> None:
        """Use another configuration from now on."""
        self._configuration = configuration

    async def aclose(self) -> None:
        """Let what waits be sent for a moment. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            with contextlib.suppress(queue.Full):
                self._waiting.put_nowait(None)
            await in_thread(functools.partial(thread.join, CLOSING_PATIENCE))

    def _queue(self, mail: Mail, message: EmailMessage) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_all, name="haagent-mail", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait((mail, message))
        except queue.Full:
            self._tell(Noticed("mail", "mail dropped", f"{MOST_WAITING} messages wait for {mail.server}"))

    def _send_all(self) -> None:
        """Send until told to end (in the thread)."""
        while (work := self._waiting.get()) is not None:
            mail, message = work
            try:
                _send(mail, message)
            except (OSError, smtplib.SMTPException) as error:
                self._complain(f"{mail.server}:{mail.port}: {error}")

    def _complain(self, detail: str) -> None:
        try:
            self._loop.call_soon_threadsafe(self._tell, Noticed("mail", "mail not sent", detail))
        except RuntimeError:
            return  # the loop has ended meanwhile


def _message(mail: Mail, report: StateChanged) -> EmailMessage:
    kind = "Group" if report.group else "Instance"
    message = EmailMessage()
    message["Subject"] = f"[{mail.router}] VRRP {kind} {report.instance} - Entering {report.new} state"
    message["From"] = mail.sender
    message["To"] = ", ".join(mail.recipients)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="haagent")
    text = _GROUP.format(state=report.new) if report.group else _INSTANCE[report.new]
    message.set_content(
        f"{text}\n\nReason: {report.reason}\nPriority: {report.priority}\nEpoch: {report.epoch}\n"
    )
    return message


def _send(mail: Mail, message: EmailMessage) -> None:
    with smtplib.SMTP(timeout=to_seconds(mail.timeout), local_hostname=mail.helo or None) as server:
        server.connect(mail.server, mail.port)
        server.send_message(message)
