"""What a flight recording must hold so that the decisions in it can be made again: parameters, identity, reloads.

Promises that ``parameters_of(about(...))`` returns the very NodeParameters the worker started with. Decides nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from haagent import __version__
from haagent.agent.parameters import Run
from haagent.control.document import read_boot_id
from haagent.core.failsafe import PromiseReply, PromiseRequest
from haagent.core.group import GroupParameters
from haagent.core.instance import AnnounceParameters, InstanceParameters
from haagent.core.parameters import NodeParameters
from haagent.core.records import Holder
from haagent.core.session import SessionParameters
from haagent.core.tracking import TrackerParameters, TrackUse
from haagent.core.virtual_router import RouterParameters
from haagent.effects.encoding import Codec
from haagent.effects.journal import moment_now
from haagent.errors import HaagentError

TIME_NAMESPACE = "/proc/self/ns/time"


class RecordingError(HaagentError):
    """A recording that cannot be used; the text says why."""

    exit_code = 65  # EX_DATAERR


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """A reload: the parameters that hold from then on. Recorded among the events."""

    parameters: NodeParameters


def codec() -> Codec:
    """Return the codec of an agent's recordings."""
    return Codec(
        (
            Reconfigured,
            NodeParameters,
            SessionParameters,
            GroupParameters,
            InstanceParameters,
            AnnounceParameters,
            RouterParameters,
            TrackUse,
            TrackerParameters,
            PromiseRequest,
            PromiseReply,
            Holder,
        )
    )


def about(run: Run, parameters: NodeParameters) -> dict[str, Any]:
    """Return the description that begins a recording.

    ``clock`` is equal for two recordings if their CLOCK_BOOTTIME is the same clock. ``started`` is for people.
    """
    return {
        "version": __version__,
        "node": run.node,
        "incarnation": run.incarnation,
        "host": run.host,
        "clock": _clock_identity(),
        "started": moment_now(),
        "parameters": codec().encode(parameters),
    }


def parameters_of(description: Mapping[str, Any]) -> NodeParameters:
    """Return the parameters in a recording's description. Raises RecordingError."""
    if "parameters" not in description:
        raise RecordingError("the recording does not say with which parameters it began")
    try:
        found = codec().decode(description["parameters"])
    except ValueError as error:
        raise RecordingError(f"the recording's parameters: {error}") from None
    if not isinstance(found, NodeParameters):
        raise RecordingError("the recording's parameters are not those of a node")
    return found


def _clock_identity() -> str:
    """Return the boot and the time namespace: a time namespace shifts CLOCK_BOOTTIME."""
    try:
        return f"{read_boot_id()}/{os.stat(TIME_NAMESPACE).st_ino}"
    except OSError:
        return read_boot_id()  # a kernel without time namespaces
