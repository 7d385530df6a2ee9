"""Writes ``rpc.binpb`` from ``rpc.proto``: ``python -m arbiters.etcd.compile``, needs grpcio-tools.

A descriptor set is shipped instead of generated code because generated code asks for a runtime at least as new
as its compiler; the descriptor set gives the same bytes with every protobuf from 4.25 on.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("rpc.proto")
COMPILED = SOURCE.with_suffix(".binpb")


def compile_messages(target: Path = COMPILED) -> None:
    """Compile ``rpc.proto`` into the descriptor set ``target``. Raises CalledProcessError with protoc's words."""
    options = [f"--proto_path={SOURCE.parent}", f"--descriptor_set_out={target}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, SOURCE.name], check=True)


if __name__ == "__main__":
    compile_messages()
