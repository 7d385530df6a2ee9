"""Mail about changes of state reaches a real SMTP conversation, and a dead server delays nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dropin_lab import Host, configuration, eventually, host, ip

from haagent.lab.namespaces import inside

pytestmark = pytest.mark.netns
ANSWERS = {
    b"EHLO": b"250 here",
    b"MAIL": b"250 ok",
    b"RCPT": b"250 ok",
    b"DATA": b"354 go on",
    b"QUIT": b"221 bye",
    b"RSET": b"250 ok",
}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path) as made:
        yield made


class Server:
    """An SMTP server of the simplest kind; every conversation is kept as text."""

    def __init__(self, namespace: str, address: tuple[str, int]) -> None:
        with inside(namespace):
            self._socket = socket.create_server(address)
        self.heard: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                self._converse(stream)

    def _converse(self, stream) -> None:
        said, data = [], False
        stream.write(b"220 hello\r\n")
        stream.flush()
        for line in stream:
            said.append(line.decode())
            if data and line.strip() != b".":
                continue
            answer = b"250 taken" if data else ANSWERS.get(line[:4].upper(), b"500 what")
            data = line[:4].upper() == b"DATA"
            stream.write(answer + b"\r\n")
            stream.flush()
        self.heard.append("".join(said))

    def close(self) -> None:
        self._socket.close()


MAIL = "notification_email {\nadmin@example.org\nsecond@example.org\n}\nnotification_email_from ha@example.org\nsmtp_server 10.77.0.1 2525\nsmtp_helo_name me.example.org\nsmtp_connect_timeout 2"


def test_every_change_of_state_is_mailed_but_faults_if_they_are_not_wanted(here):
    server = Server(here.name, ("10.77.0.1", 2525))
    try:
        here.start(configuration("smtp_alert", more_globals=f"{MAIL}\nno_email_faults"))
        eventually(lambda: len(server.heard) >= 2, "two mails")
        ip("-n", here.far, "link", "set", "lan", "down")
        here.wait_gone()
        ip("-n", here.far, "link", "set", "lan", "up")
        eventually(lambda: len(server.heard) >= 4, "four mails")
    finally:
        server.close()
    subjects = [line for mail in server.heard for line in mail.splitlines() if line.startswith("Subject: ")]
    assert subjects == [
        f"Subject: [here] VRRP Instance VI_1 - Entering {s} state" for s in ("BACKUP", "MASTER") * 2
    ]
    first = server.heard[1].lower()
    for expected in ("ehlo me.example.org", "mail from:<ha@example.org>", "rcpt to:<admin@example.org>",
                     "rcpt to:<second@example.org>", "=> vrrp instance is now owning vrrp vips <="):  # fmt: skip
        assert expected in first


def test_a_dead_server_costs_a_line_in_the_log_and_nothing_else(here):
    here.start(configuration(more_globals=MAIL.replace("10.77.0.1 2525", "10.77.0.200") + "\nsmtp_alert"))
    here.wait_master()
    eventually(lambda: "mail not sent" in here.text(), "a line", 8)
    begun = time.monotonic()
    here.stop()
    assert time.monotonic() - begun < 4
