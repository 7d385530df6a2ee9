"""Kubernetes as an arbiter: ``arbiter kubernetes``, Lease objects of ``coordination.k8s.io/v1``.

Promises what ``haagent.arbiter`` asks for and nothing more. The plugin is loaded only when it is configured,
which is also the moment its client library is imported.
"""

from __future__ import annotations

from arbiters.kubernetes.registers import KubernetesArbiter
from arbiters.kubernetes.settings import read_settings
from haagent.arbiter import Arbiter, ArbiterOptions

__all__ = ["KubernetesArbiter", "open_arbiter"]


async def open_arbiter(options: ArbiterOptions) -> Arbiter:
    """Return an arbiter that connects when it is asked. Raises Misconfigured for settings that cannot work."""
    return KubernetesArbiter(read_settings(options))
