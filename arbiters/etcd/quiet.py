"""Keeps gRPC silent; to be imported before it. What the operator should know is in our own errors."""

from __future__ import annotations

import logging
import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C core writes to our standard error
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # it hooks every fork, and we start many scripts
logging.getLogger("grpc").setLevel(logging.WARNING)  # at debug level it logs a line per call
