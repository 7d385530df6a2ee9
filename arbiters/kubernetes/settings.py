"""What a Kubernetes arbiter was told, checked. Reads files once; opens no connection.

Three ways to say which cluster, the first that is given counts: ``endpoints`` (host:port of the API servers) with
``ca`` and ``cert`` and ``key`` or ``password`` (a bearer token); ``kubeconfig`` (a file) with ``context``;
neither, inside a pod: its service account. ``namespace`` overrides theirs.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from arbiters.kubernetes.access import Access, Token
from arbiters.kubernetes.kubeconfig import read_kubeconfig
from arbiters.options import check_pair, check_words, host_port, make_context, pem
from haagent.arbiter import ArbiterOptions, Misconfigured

KIND = "kubernetes"
DEFAULT_PORT = 6443
WORDS = frozenset({"ca", "cert", "key", "password", "kubeconfig", "context", "namespace"})
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the modules of this package need."""

    access: Access
    domain: str
    node: str


def read_settings(options: ArbiterOptions) -> Settings:
    """Return the checked settings. Raises Misconfigured saying what was found and what is accepted."""
    check_words(KIND, options, WORDS, per="API server", need_endpoints=False)
    words = options.settings
    if "kubeconfig" in words and options.endpoints:
        raise Misconfigured("arbiter kubernetes: endpoints and kubeconfig; accepted: one of them")
    if options.endpoints:
        access = _from_words(options)
    elif "kubeconfig" in words:
        access = read_kubeconfig(Path(words["kubeconfig"]), words.get("context", ""))
    else:
        access = in_cluster(ACCOUNT)
    namespace = words.get("namespace", access.namespace)
    if not _NAMESPACE.fullmatch(namespace):
        raise Misconfigured(f"arbiter kubernetes: namespace {namespace!r} is not a name Kubernetes accepts")
    return Settings(replace(access, namespace=namespace), options.domain, options.node)


def in_cluster(account: Path) -> Access:
    """Return the access of a pod's service account, whose files are in ``account``."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    token, ca, namespace = account / "token", account / "ca.crt", account / "namespace"
    if not host or not token.exists():
        raise Misconfigured(
            "arbiter kubernetes: no endpoints, no kubeconfig, and this is no pod with a service account; "
            "accepted: one of them"
        )
    authorities = pem(KIND, {"ca": str(ca)}, "ca")
    try:
        where = namespace.read_text().strip()
    except OSError as error:
        raise Misconfigured(f"arbiter kubernetes: {namespace}: {error.strerror}") from error
    shown = f"[{host}]" if ":" in host else host
    context = make_context(KIND, authorities, None, None)
    return Access((f"https://{shown}:{port}",), context, where, Token(path=token))


def _from_words(options: ArbiterOptions) -> Access:
    words = options.settings
    check_pair(KIND, words)
    context = make_context(KIND, *(pem(KIND, words, word) for word in ("ca", "cert", "key")))
    targets = (host_port(KIND, endpoint, DEFAULT_PORT) for endpoint in options.endpoints)
    token = Token(text=words["password"]) if "password" in words else Token()
    return Access(tuple(f"https://{target}" for target in targets), context, "default", token)
