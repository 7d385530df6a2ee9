"""NOT a Consul: a stand-in with what its documentation and source say of the API the arbiter uses.

Key/value reads with ``recurse``, ``consistent`` and blocking queries; transactions of one ``cas``; ACL refusals;
an index for everything; keys refused as recent versions refuse them. Where a real ``consul`` is on PATH the same
suite runs on it.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode, b64encode
from copy import deepcopy
from typing import Any

from aiohttp import web

from tests.contract.http_double import Double, wait_for_change

_KEY = re.compile(r"[A-Za-z0-9,_./-]+")
_FILES = (".js", ".css", ".html", ".json", ".txt", ".com", ".sh", ".zip")


class ConsulDouble(Double):
    """One server. ``token`` is what it asks for, if not empty; ``state`` is (index, entries)."""

    def __init__(self, token: str = "") -> None:
        super().__init__()
        self.token = token
        self.state: tuple[int, dict[str, dict[str, Any]]] = (7, {})
        self._changed = asyncio.Condition()
        self.app.router.add_get("/v1/kv/{key:.*}", self._get)
        self.app.router.add_delete("/v1/kv/{key:.*}", self._delete)
        self.app.router.add_put("/v1/txn", self._transaction)

    def snapshot(self) -> tuple[int, dict[str, dict[str, Any]]]:
        return deepcopy(self.state)

    async def _get(self, request: web.Request) -> web.Response:
        key, query = request.match_info["key"], request.query
        if self._refused(request):
            return web.Response(
                status=403, text="Permission denied: token with AccessorID 'x' lacks permission"
            )
        if not _valid(key):
            return web.Response(status=400, text="key contains invalid character")
        if "index" in query and int(query["index"]) >= self.state[0]:
            await wait_for_change(self._changed, float(query.get("wait", "300s").removesuffix("s")))
        index, entries = self.state
        found = [
            e for k, e in sorted(entries.items()) if (k.startswith(key) if "recurse" in query else k == key)
        ]
        headers = {"X-Consul-Index": str(index)}
        if not found:
            return web.Response(status=404, headers=headers)
        return web.json_response(found, headers=headers)

    async def _delete(self, request: web.Request) -> web.Response:
        assert "recurse" in request.query
        index, entries = self.state
        kept = {k: e for k, e in entries.items() if not k.startswith(request.match_info["key"])}
        self.state = (index + 1, kept)
        return web.json_response(True)

    async def _transaction(self, request: web.Request) -> web.Response:
        (operation,) = await request.json()
        wanted = operation["KV"]
        assert wanted["Verb"] == "cas"
        if self._refused(request):
            return self._error("Permission denied: token with AccessorID 'x' lacks permission 'key:write'")
        index, entries = self.state
        held = entries.get(wanted["Key"])
        if wanted["Index"] != (0 if held is None else held["ModifyIndex"]):
            return self._error(f'failed to set key "{wanted["Key"]}", index is stale')
        index += 1
        b64decode(wanted["Value"], validate=True)
        entry = {
            "Key": wanted["Key"],
            "Value": wanted["Value"],
            "Flags": 0,
            "LockIndex": 0,
            "CreateIndex": index if held is None else held["CreateIndex"],
            "ModifyIndex": index,
        }
        self.state = (index, {**entries, wanted["Key"]: entry})
        async with self._changed:
            self._changed.notify_all()
        return web.json_response({"Results": [{"KV": {**entry, "Value": None}}], "Errors": None})

    @staticmethod
    def _error(what: str) -> web.Response:
        return web.json_response({"Results": None, "Errors": [{"OpIndex": 0, "What": what}]}, status=409)

    def _refused(self, request: web.Request) -> bool:
        return bool(self.token) and request.headers.get("X-Consul-Token") != self.token


def entry_value(text: bytes) -> str:
    """Return a value as Consul shows it."""
    return b64encode(text).decode()


def _valid(key: str) -> bool:
    return bool(_KEY.fullmatch(key)) and "../" not in key and not key.lower().endswith(_FILES)
