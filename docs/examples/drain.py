#!/usr/bin/env python3
"""Hand a claim over with as few cut connections as possible: drain.py CLAIM [--seconds 10] [--cut] [OPTIONS].

For some seconds every answer ends its connection ("Connection: close"), so that no idle one is left to be reset. Then
``haagent switchover CLAIM OPTIONS``, such as --to NODE. With --cut, streams are ended a moment before, so that their clients hear of it and
connect anew; new connections are refused until the other node has taken over.

Run it on the node that is MASTER. The frontend is called like the claim, as in the examples.
"""

from __future__ import annotations

import argparse
import re
import socket
import subprocess
import sys
import time


def ask(path: str, command: str) -> str:
    """Return what HAProxy answers."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(2)
        channel.connect(path)
        channel.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: channel.recv(65_536), b"")).decode().strip()


def tell(path: str, command: str) -> None:
    """Have HAProxy do something; whatever it answers is a complaint, and ends the script."""
    if answer := ask(path, command):
        sys.exit(f"{command}: {answer}")


def cut(path: str, frontend: str) -> None:
    """End what the frontend serves. A session that has ended by itself meanwhile is no error."""
    for line in ask(path, "show sess").splitlines():
        found = re.match(rf"(0x[0-9a-f]+): .*\bfe={re.escape(frontend)}\b", line)
        if found:
            ask(path, f"shutdown session {found[1]}")


def main() -> int:
    """Drain, hand over, and put everything back; return the status of the switchover."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claim")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--cut", action="store_true")
    parser.add_argument("--haproxy-socket", dest="socket", default="/run/haproxy/admin.sock")
    parser.add_argument("--map", default="/etc/haproxy/drain.map")
    given, options = parser.parse_known_args()
    tell(given.socket, f"set map {given.map} drain 1")
    try:
        time.sleep(given.seconds)
        if given.cut:
            tell(given.socket, f"disable frontend {given.claim}")
            cut(given.socket, given.claim)
        return subprocess.run(["haagent", "switchover", given.claim, *options], check=False).returncode
    finally:
        if given.cut:
            tell(given.socket, f"enable frontend {given.claim}")
        tell(given.socket, f"set map {given.map} drain 0")


if __name__ == "__main__":
    sys.exit(main())
