"""The requests we make of a Kubernetes API server, and what its answers mean. Decides nothing else.

409 and 422 to a write say that this write was not and will not be made. 5xx, 429 and everything unknown stay
``Unavailable``.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from arbiters.kubernetes.access import Access
from arbiters.kubernetes.objects import API, DOMAIN, domain_label, lease_name, new_lease, patch, record
from arbiters.options import as_text
from arbiters.rest import Answer, RestEndpoint
from haagent.arbiter import Misconfigured, Record, Unavailable

PATCH_TYPE = "application/json-patch+json"


class Refused(Exception):  # noqa: N818 - what happened, in HTTP's word
    """The write was not made; the text is the server's. ``invalid``: it did not like what was to be written."""

    def __init__(self, text: str, *, invalid: bool = False) -> None:
        super().__init__(text)
        self.invalid = invalid


class Api:
    """The leases of one namespace; every method raises ArbiterError, within ``timeout`` seconds if it has one."""

    def __init__(self, access: Access, domain: str, node: str) -> None:
        self._token, self._domain, self._node = access.token, domain, node
        self._path = f"/apis/{API}/namespaces/{access.namespace}/leases"
        self._selector = f"{DOMAIN}={domain_label(domain)}"

    async def get(self, endpoint: RestEndpoint, name: str, timeout: float) -> Record | None:
        """Return what a register holds, None if there is none. The server asks its etcd for a quorum."""
        path = f"{self._path}/{lease_name(self._domain, name)}"
        answer = await self._call(endpoint, "GET", path, timeout)
        return None if answer.status == 404 else record(answer.json())

    async def create(self, endpoint: RestEndpoint, name: str, value: bytes, timeout: float) -> Record:
        """Make a register and return it. Raises Refused if there is one."""
        lease = new_lease(self._domain, name, as_text("kubernetes", value), self._node)
        return record((await self._call(endpoint, "POST", self._path, timeout, lease)).json())

    async def replace(
        self, endpoint: RestEndpoint, name: str, value: bytes, expected: Record, timeout: float
    ) -> Record:
        """Write a register that holds ``expected`` and return it. Raises Refused if it does not."""
        old, new = (as_text("kubernetes", one) for one in (expected.value, value))
        path = f"{self._path}/{lease_name(self._domain, name)}"
        answer = await self._call(endpoint, "PATCH", path, timeout, patch(expected, old, new, self._node))
        if answer.status == 404:
            raise Refused("there is no such lease")
        return record(answer.json())

    async def list(self, endpoint: RestEndpoint, timeout: float) -> tuple[str, list[Any]]:
        """Return the version of the list, and all leases of the domain."""
        path = f"{self._path}?labelSelector={self._selector}"
        content = (await self._call(endpoint, "GET", path, timeout)).json()
        return content["metadata"]["resourceVersion"], content.get("items") or []

    async def delete(self, endpoint: RestEndpoint, lease: str, timeout: float) -> None:
        """Remove one object, by its own name."""
        await self._call(endpoint, "DELETE", f"{self._path}/{lease}", timeout)

    async def watch(
        self, endpoint: RestEndpoint, version: str, seconds: int
    ) -> AsyncGenerator[tuple[str, Any], None]:
        """Yield (type, object) for what changed after ``version``, for so many seconds."""
        params = {
            "labelSelector": self._selector,
            "watch": "1",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        async with endpoint.stream(
            "GET", self._path, params=params, headers=self._token.headers()
        ) as response:
            if response.status != 200:
                raise Unavailable(f"{endpoint.target}: the watch is refused: {response.status}")
            async with aclosing(_lines(response.content)) as lines:
                async for line in lines:
                    event = json.loads(line)
                    yield event["type"], event["object"]

    async def _call(
        self, endpoint: RestEndpoint, method: str, path: str, timeout: float, content: Any = None
    ) -> Answer:
        """Return an answer that is one: 2xx, or 404 for one object. Raises Refused for 409 and 422."""
        headers = {"Content-Type": PATCH_TYPE if method == "PATCH" else "application/json"}
        body = None if content is None else json.dumps(content).encode()
        answer = await endpoint.call(
            method, path, max(0.001, timeout), headers=self._token.headers() | headers, body=body
        )
        if answer.status in {200, 201}:
            return answer
        message = _message(answer)
        text = f"{endpoint.target}: {answer.status} {message or answer.text}"
        if answer.status in {409, 422} and method != "GET":
            raise Refused(text, invalid=answer.status == 422)
        if answer.status == 404 and method != "POST" and message is not None:
            return answer
        if answer.status == 401:
            self._token.forget()
            raise Misconfigured(f"{text}: check the token or the client certificate")
        if answer.status == 403:
            raise Misconfigured(
                f"{text}: grant get, list, watch, create and patch on leases in our namespace"
            )
        if answer.status in {400, 404, 405, 415}:
            raise Misconfigured(f"{text}: is this a Kubernetes API server, and is there such a namespace?")
        raise Unavailable(text)


async def _lines(content: Any) -> AsyncGenerator[bytes, None]:
    async for line in content:
        if line.strip():
            yield line


def _message(answer: Answer) -> str | None:
    """Return what a Status object says; None for anything else, which no API server says."""
    try:
        content = json.loads(answer.body)
    except ValueError:
        return None
    return (
        str(content.get("message", ""))
        if isinstance(content, dict) and content.get("kind") == "Status"
        else None
    )
