"""The requests we make of Consul, and what its answers mean. Decides nothing else.

An answer is definite only where Consul says so in a way that has one meaning: a transaction that was refused
because an index is stale did nothing. Every 5xx stays ``Unavailable``: the leader may have changed after the
write.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

from arbiters.consul.settings import Settings
from arbiters.rest import Answer, RestEndpoint
from haagent.arbiter import ArbiterError, Misconfigured, Record, Unavailable


class Api:
    """One domain's requests; every method raises ArbiterError within its ``timeout`` (seconds)."""

    def __init__(self, settings: Settings) -> None:
        self._headers = {"X-Consul-Token": settings.token} if settings.token else {}
        self._params = {"dc": settings.datacenter} if settings.datacenter else {}

    async def get(
        self, endpoint: RestEndpoint, path: str, timeout: float, *, consistent: bool
    ) -> Record | None:
        """Return what a key holds, None if there is none."""
        params = {**self._params, **({"consistent": ""} if consistent else {})}
        answer = await self._call(endpoint, "GET", f"/v1/kv/{path}", timeout, params=params)
        return None if answer.status == 404 else record(_whole(answer, endpoint)[0])

    async def follow(
        self, endpoint: RestEndpoint, prefix: str, index: int, wait: float, timeout: float
    ) -> tuple[int, list[Any]]:
        """Return the next index and all entries below ``prefix``, once there is a newer index or after ``wait``."""
        params = {**self._params, "recurse": "", "index": str(index), "wait": f"{wait:g}s"}
        answer = await self._call(endpoint, "GET", f"/v1/kv/{prefix}", timeout, params=params)
        return int(answer.headers["X-Consul-Index"]), [] if answer.status == 404 else _whole(answer, endpoint)

    async def compare_and_set(
        self, endpoint: RestEndpoint, path: str, value: bytes, index: int, timeout: float
    ) -> str | None:
        """Return the new index, or None if the key had another index (0: there was one)."""
        operation = {"Verb": "cas", "Key": path, "Value": b64encode(value).decode(), "Index": index}
        body = json.dumps([{"KV": operation}]).encode()
        answer = await self._call(endpoint, "PUT", "/v1/txn", timeout, params=self._params, body=body)
        if answer.status == 200:
            return str(answer.json()["Results"][0]["KV"]["ModifyIndex"])
        said = " ".join(str(error.get("What", "")) for error in answer.json().get("Errors") or ())
        if "index is stale" in said:
            return None
        if "ermission denied" in said or "ACL not found" in said:
            raise _forbidden(endpoint, said)
        raise Unavailable(f"{endpoint.target}: {said or answer.text}")

    async def erase(self, endpoint: RestEndpoint, prefix: str, timeout: float) -> None:
        """Remove every key below ``prefix``."""
        params = {**self._params, "recurse": ""}
        await self._call(endpoint, "DELETE", f"/v1/kv/{prefix}", timeout, params=params)

    async def _call(
        self,
        endpoint: RestEndpoint,
        method: str,
        path: str,
        timeout: float,
        *,
        params: dict[str, str],
        body: bytes | None = None,
    ) -> Answer:
        """Return an answer that is one: 200, 404 for a read, 409 for a transaction. Raises ArbiterError."""
        answer = await endpoint.call(
            method, path, max(0.001, timeout), params=params, headers=self._headers, body=body
        )
        if answer.status == 200 or (method == "PUT" and answer.status == 409):
            return answer
        if method == "GET" and answer.status == 404 and "X-Consul-Index" in answer.headers:
            return answer
        text = f"{endpoint.target}: {answer.status} {answer.text}"
        if answer.status in {401, 403}:
            raise _forbidden(endpoint, answer.text)
        if answer.status in {400, 404, 405, 413}:
            raise Misconfigured(f"{text}: is this a Consul, and are datacenter and domain right?")
        raise Unavailable(text)


def record(entry: Any) -> Record:
    """Return what an entry of Consul's answers holds."""
    return Record(b64decode(entry["Value"] or ""), str(entry["ModifyIndex"]))


def _whole(answer: Answer, endpoint: RestEndpoint) -> list[Any]:
    entries = answer.json()
    if not isinstance(entries, list) or not entries or "ModifyIndex" not in entries[0]:
        raise Unavailable(f"{endpoint.target}: not what Consul answers: {answer.text}")
    return entries


def _forbidden(endpoint: RestEndpoint, said: str) -> ArbiterError:
    return Misconfigured(
        f"{endpoint.target}: {said}: check password_file (the ACL token), which needs key_prefix write on "
        "haagent/<domain>/"
    )
