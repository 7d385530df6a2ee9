"""How a register looks as a Lease object.

The value and the register's own name are annotations; a label lets us list a domain; ``holderIdentity``, which
``kubectl get leases`` shows, is the node that wrote last and is for people only. An object's name has few
characters to choose from, so it carries what is readable of the register's name, and a digest of all of it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from haagent.arbiter import Record

API = "coordination.k8s.io/v1"
REGISTER, VALUE, DOMAIN = "haagent/register", "haagent/value", "haagent/domain"
VALUE_PATH = "/metadata/annotations/haagent~1value"  # a JSON pointer: ~1 stands for a slash
_UNREADABLE = re.compile(r"[^a-z0-9]+")


def lease_name(domain: str, name: str) -> str:
    """Return the name of the object that is register ``name``: a DNS label."""
    readable = _UNREADABLE.sub("-", f"{domain}-{name}".lower()).strip("-")[:40].strip("-")
    return f"haagent-{readable}-{_digest(f'{domain}/{name}')[:12]}"


def domain_label(domain: str) -> str:
    """Return the label's value; a domain itself may be too long, or end in a dot."""
    return _digest(domain)[:32]


def new_lease(domain: str, name: str, value: str, node: str) -> dict[str, Any]:
    """Return the object to create."""
    return {
        "apiVersion": API,
        "kind": "Lease",
        "metadata": {
            "name": lease_name(domain, name),
            "labels": {"app.kubernetes.io/managed-by": "haagent", DOMAIN: domain_label(domain)},
            "annotations": {REGISTER: f"{domain}/{name}", VALUE: value},
        },
        "spec": {"holderIdentity": node},
    }


def patch(expected: Record, old: str, new: str, node: str) -> list[dict[str, str]]:
    """Return a JSON patch that does nothing unless version *and* value are those of ``expected``."""
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": expected.version},
        {"op": "test", "path": VALUE_PATH, "value": old},
        {"op": "replace", "path": VALUE_PATH, "value": new},
        {"op": "add", "path": "/spec/holderIdentity", "value": node},
    ]


def record(lease: Any) -> Record:
    """Return what an object holds; an object without our annotation holds the empty value."""
    metadata = lease["metadata"]
    value = (metadata.get("annotations") or {}).get(VALUE, "")
    return Record(value.encode(), metadata["resourceVersion"])


def register(lease: Any, domain: str) -> str | None:
    """Return the name of the register that an object is; None if it is none of ``domain``."""
    whole = (lease["metadata"].get("annotations") or {}).get(REGISTER, "")
    return str(whole.removeprefix(f"{domain}/")) if whole.startswith(f"{domain}/") else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
