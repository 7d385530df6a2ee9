"""NOT a Kubernetes API server: a stand-in with what its documentation says of Lease objects.

Create, read, list by label, JSON patch with ``test``, watch from a version, Status objects for errors. It speaks
TLS, as API servers do. HAAGENT_TEST_KUBECONFIG names a kubeconfig on whose cluster the same suite runs.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from copy import deepcopy
from typing import Any

from aiohttp import web

from tests.contract.http_double import Double, wait_for_change

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


class KubernetesDouble(Double):
    """One API server with its etcd. ``tokens`` are those it takes; ``denied`` are verbs nobody may use."""

    def __init__(self, tls: ssl.SSLContext, tokens: tuple[str, ...] = ("right",)) -> None:
        super().__init__(tls)
        self.tokens, self.denied = set(tokens), set[str]()
        self.version, self.leases = 100, dict[str, dict[str, Any]]()
        self._log: list[tuple[int, str, dict[str, Any]]] = []
        self._changed = asyncio.Condition()
        self.app.router.add_get(LEASES, self._list)
        self.app.router.add_post(LEASES, self._create)
        self.app.router.add_get(LEASES + "/{name}", self._get)
        self.app.router.add_delete(LEASES + "/{name}", self._delete)
        self.app.router.add_patch(LEASES + "/{name}", self._patch)

    def snapshot(self) -> tuple[int, dict[str, dict[str, Any]]]:
        return self.version, deepcopy(self.leases)

    def restore(self, saved: tuple[int, dict[str, dict[str, Any]]]) -> None:
        self.version, self.leases = saved[0], deepcopy(saved[1])

    async def delete(self, name: str) -> None:
        await self._note("DELETED", self.leases.pop(name))

    async def _get(self, request: web.Request) -> web.Response:
        if refused := self._refused(request, "get"):
            return refused
        name = request.match_info["name"]
        if name not in self.leases:
            return _status(404, f'leases.coordination.k8s.io "{name}" not found')
        return web.json_response(self.leases[name])

    async def _create(self, request: web.Request) -> web.Response:
        if refused := self._refused(request, "create"):
            return refused
        lease = await request.json()
        name = lease["metadata"]["name"]
        if not _NAME.fullmatch(name) or len(name) > 253 or "resourceVersion" in lease["metadata"]:
            return _status(422, f'Lease.coordination.k8s.io "{name}" is invalid')
        if name in self.leases:
            return _status(409, f'leases.coordination.k8s.io "{name}" already exists')
        lease["metadata"]["namespace"] = request.match_info["namespace"]
        return web.json_response(await self._store("ADDED", name, lease), status=201)

    async def _delete(self, request: web.Request) -> web.Response:
        if refused := self._refused(request, "delete"):
            return refused
        await self.delete(request.match_info["name"])
        return web.json_response({"kind": "Status", "status": "Success"})

    async def _patch(self, request: web.Request) -> web.Response:
        if refused := self._refused(request, "patch"):
            return refused
        if request.content_type != "application/json-patch+json":
            return _status(415, "the body of the request was in an unknown format")
        name = request.match_info["name"]
        if name not in self.leases:
            return _status(404, f'leases.coordination.k8s.io "{name}" not found')
        lease = deepcopy(self.leases[name])
        for step in await request.json():
            *parents, last = (
                part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]
            )
            place = lease
            for part in parents:
                place = place.get(part, {})
            if step["op"] == "test" and place.get(last) != step["value"]:
                return _status(422, "the server rejected our request due to an error in our request")
            if step["op"] in {"replace", "add"}:
                place[last] = step["value"]
        return web.json_response(await self._store("MODIFIED", name, lease))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if refused := self._refused(request, "watch" if "watch" in request.query else "list"):
            return refused
        label, _, wanted = request.query["labelSelector"].partition("=")
        if "watch" in request.query:
            return await self._watch(request, label, wanted)
        found = [one for one in self.leases.values() if one["metadata"]["labels"].get(label) == wanted]
        return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "items": found})

    async def _watch(self, request: web.Request, label: str, wanted: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        until = loop.time() + float(request.query["timeoutSeconds"])
        after = int(request.query["resourceVersion"])
        if after > self.version:
            await response.write(json.dumps({"type": "ERROR", "object": {"message": "too old"}}).encode())
            return response
        while loop.time() < until:
            for version, kind, lease in [entry for entry in self._log if entry[0] > after]:
                after = version
                if lease["metadata"]["labels"].get(label) == wanted:
                    await response.write(json.dumps({"type": kind, "object": lease}).encode() + b"\n")
            await wait_for_change(self._changed, until - loop.time())
        return response

    async def _store(self, kind: str, name: str, lease: dict[str, Any]) -> dict[str, Any]:
        self.leases[name] = lease
        await self._note(kind, lease)
        return lease

    async def _note(self, kind: str, lease: dict[str, Any]) -> None:
        self.version += 1
        lease["metadata"]["resourceVersion"] = str(self.version)
        self._log.append((self.version, kind, deepcopy(lease)))
        async with self._changed:
            self._changed.notify_all()

    def _refused(self, request: web.Request, verb: str) -> web.Response | None:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return _status(401, "Unauthorized")
        if verb in self.denied:
            return _status(403, f'leases.coordination.k8s.io is forbidden: User "x" cannot {verb} resource')
        return None


def _status(code: int, message: str) -> web.Response:
    content = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return web.json_response(content, status=code)
