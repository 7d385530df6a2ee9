"""What each address of the HTTP service answers, from one view of the node. Pure.

::

    /                        the status page, for people
    /primary[/NAME]          200 if this node is MASTER and the kernel passes its traffic, else 503  (also /master, /leader)
    /backup[/NAME]           200 if it is BACKUP and its agent runs, else 503                          (also /replica)
    /liveness                200 if the agent runs
    /health                  200 if it runs and nothing is in FAULT
    /readiness               200 if it holds, or could take over, everything
    /status                  the status document, and what the kernel lets pass now
    /metrics                 Prometheus

NAME is an instance or a sync group; without it all instances are meant, every one of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from haagent.control.document import InstanceStatus
from haagent.control.http import Response
from haagent.control.metrics import CONTENT_TYPE, exposition
from haagent.control.status_page import SECURITY, page
from haagent.control.view import View, seconds

_ROLES: dict[str, Callable[[View, InstanceStatus], bool]] = {
    "primary": View.is_master,
    "master": View.is_master,
    "leader": View.is_master,
    "backup": View.is_backup,
    "replica": View.is_backup,
}
_CHECKS: dict[str, Callable[[View], bool]] = {
    "liveness": lambda view: view.alive,
    "health": lambda view: view.well,
    "readiness": lambda view: view.ready,
}
_PLACES = "/ /primary /backup /liveness /health /readiness /status /metrics"


def respond(target: str, view: View) -> Response:
    """Return the answer to a request for ``target``."""
    kind, _, subject = unquote(target.partition("?")[0]).removeprefix("/").partition("/")
    if kind in _ROLES:
        return _role(view, _ROLES[kind], subject)
    if subject:
        return _nothing_there()
    if kind in _CHECKS:
        return _json(view, good=_CHECKS[kind](view), instances=view.instances)
    match kind:
        case "":
            return Response(HTTPStatus.OK, page(view), "text/html", SECURITY)
        case "status":
            status = HTTPStatus.OK if view.alive else HTTPStatus.SERVICE_UNAVAILABLE
            return Response(status, json.dumps(document(view), indent=2) + "\n")
        case "metrics":
            return Response(HTTPStatus.OK, exposition(view), CONTENT_TYPE)
        case _:
            return _nothing_there()


def _role(view: View, has: Callable[[View, InstanceStatus], bool], subject: str) -> Response:
    meant = view.of(subject)
    if subject and not meant:
        known = ", ".join(
            sorted({one.name for one in view.instances} | {one.group for one in view.instances} - {""})
        )
        text = f"no instance or sync group is called {subject!r}; there are: {known or 'none'}\n"
        return Response(HTTPStatus.NOT_FOUND, text, "text/plain")
    return _json(view, good=bool(meant) and all(has(view, one) for one in meant), instances=meant)


def _json(view: View, *, good: bool, instances: tuple[InstanceStatus, ...]) -> Response:
    body = {
        "node": view.status.node if view.status else "",
        "alive": view.alive,
        "instances": {
            one.name: {"state": view.state_of(one), "epoch": _epoch(view, one)} for one in instances
        },
    }
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, json.dumps(body) + "\n", headers=_epoch_header(view, instances))


def _epoch(view: View, instance: InstanceStatus) -> int:
    """Return the epoch that the kernel's gate is open with, or the last one that is known."""
    return view.gate.epochs.get(instance.claim, instance.epoch)


def _epoch_header(view: View, instances: tuple[InstanceStatus, ...]) -> tuple[tuple[str, str], ...]:
    """Return X-HA-Epoch where one claim is meant, and it is held here."""
    claims = {one.claim for one in instances}
    held = len(claims) == 1 and all(view.is_master(one) for one in instances)
    return (("X-HA-Epoch", str(_epoch(view, instances[0]))),) if held else ()


def document(view: View) -> dict[str, Any]:
    """Return the status document with what is known of this moment beside it, as ``now``."""
    return {
        "now": {
            "boot_ns": view.now,
            "alive": view.alive,
            "status_age_seconds": seconds(view.age),
            "gate_seconds_left": seconds(max(0, view.gate.deadline - view.now)) if view.gate.epochs else 0.0,
            "passing": sorted(one.name for one in view.instances if view.passes(one)),
            "master": sorted(one.name for one in view.instances if view.is_master(one)),
        },
        "status": view.status.to_json() if view.status else None,
    }


def _nothing_there() -> Response:
    return Response(HTTPStatus.NOT_FOUND, f"there are: {_PLACES}\n", "text/plain")
