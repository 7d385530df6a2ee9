"""etcd's messages and methods, built when this module is imported.

Promises the same bytes on the wire with every protobuf runtime from 4.25 on. Does no I/O but reading the
descriptor set that lies beside it. The messages are classes made at run time, hence ``Any``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_DESCRIPTORS = Path(__file__).with_name("rpc.binpb")


def _build() -> Callable[[str], Any]:
    """Return a function from a message's name to its class, out of a pool of our own."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"haagent.etcd.{name}"))


_message = _build()

RangeRequest = _message("RangeRequest")
PutRequest = _message("PutRequest")
DeleteRangeRequest = _message("DeleteRangeRequest")
RequestOp = _message("RequestOp")
Compare = _message("Compare")
Event = _message("Event")
TxnRequest = _message("TxnRequest")
WatchRequest = _message("WatchRequest")
WatchCreateRequest = _message("WatchCreateRequest")
WatchProgressRequest = _message("WatchProgressRequest")
LeaseGrantRequest = _message("LeaseGrantRequest")
LeaseKeepAliveRequest = _message("LeaseKeepAliveRequest")
AuthenticateRequest = _message("AuthenticateRequest")


@dataclass(frozen=True, slots=True)
class Method:
    """One remote procedure: its path and how its messages become bytes and back."""

    path: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def _method(path: str, request: str, response: str) -> Method:
    return Method(f"/etcdserverpb.{path}", _message(request).SerializeToString, _message(response).FromString)


RANGE = _method("KV/Range", "RangeRequest", "RangeResponse")
DELETE_RANGE = _method("KV/DeleteRange", "DeleteRangeRequest", "DeleteRangeResponse")
TXN = _method("KV/Txn", "TxnRequest", "TxnResponse")
WATCH = _method("Watch/Watch", "WatchRequest", "WatchResponse")
LEASE_GRANT = _method("Lease/LeaseGrant", "LeaseGrantRequest", "LeaseGrantResponse")
LEASE_KEEP_ALIVE = _method("Lease/LeaseKeepAlive", "LeaseKeepAliveRequest", "LeaseKeepAliveResponse")
AUTHENTICATE = _method("Auth/Authenticate", "AuthenticateRequest", "AuthenticateResponse")


def prefix_end(prefix: bytes) -> bytes:
    """Return the first key after every key that starts with ``prefix``, which ends in a byte below 0xff."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
