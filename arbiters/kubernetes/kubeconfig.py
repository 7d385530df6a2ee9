"""Reads a kubeconfig file: one context, its cluster and its user.

Promises to run nothing: users whose credentials come from a program (``exec``) or a provider are refused, since a
daemon must not wait for a login. Certificates are always checked.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from arbiters.kubernetes.access import Access, Token
from arbiters.options import make_context
from haagent.arbiter import Misconfigured


def read_kubeconfig(path: Path, context: str) -> Access:
    """Return what ``context`` (empty: the current one) of the file says. Raises Misconfigured naming the place."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise _refusal(path, str(error.strerror)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _refusal(path, "not a YAML file") from error
    if not isinstance(content, dict):
        raise _refusal(path, "not a kubeconfig")
    chosen = context or content.get("current-context") or ""
    about = _entry(path, content, "context", chosen)
    cluster = _entry(path, content, "cluster", str(about.get("cluster", "")))
    user = _entry(path, content, "user", str(about.get("user", "")))
    for word in ("exec", "auth-provider", "username"):
        if word in user:
            raise _refusal(
                path, f"a user with {word}; accepted: a client certificate, a token or a tokenFile"
            )
    if cluster.get("insecure-skip-tls-verify") or cluster.get("tls-server-name"):
        raise _refusal(path, "insecure-skip-tls-verify and tls-server-name are not supported")
    server = str(cluster.get("server", "")).rstrip("/")
    if not server.startswith("https://"):
        raise _refusal(path, f"server {server!r}; accepted: a URL that begins with https://")
    return Access(
        bases=(server,),
        tls=make_context(
            "kubernetes",
            _data(path, cluster, "certificate-authority"),
            _data(path, user, "client-certificate"),
            _data(path, user, "client-key"),
        ),
        namespace=str(about.get("namespace") or "default"),
        token=_token(path, user),
    )


def _entry(path: Path, content: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    """Return the entry ``name`` of the list of contexts, clusters or users."""
    for one in content.get(f"{kind}s") or ():
        if isinstance(one, dict) and one.get("name") == name:
            found = one.get(kind)
            if isinstance(found, dict):
                return found
    raise _refusal(path, f"no {kind} {name!r}")


def _data(path: Path, entry: Mapping[str, Any], word: str) -> bytes | None:
    """Return a PEM text, given in place or as a file (relative to the kubeconfig's directory)."""
    try:
        if (encoded := entry.get(f"{word}-data")) is not None:
            return b64decode(str(encoded), validate=True)
        if (file := entry.get(word)) is not None:
            return (path.parent / str(file)).read_bytes()
    except binascii.Error as error:
        raise _refusal(path, f"{word}-data is not base64") from error
    except OSError as error:
        raise _refusal(path, f"{word} {entry[word]}: {error.strerror}") from error
    return None


def _token(path: Path, user: Mapping[str, Any]) -> Token:
    if (file := user.get("tokenFile")) is not None:
        return Token(path=path.parent / str(file))
    return Token(text=str(user.get("token") or ""))


def _refusal(path: Path, what: str) -> Misconfigured:
    return Misconfigured(f"arbiter kubernetes: kubeconfig {path}: {what}")
