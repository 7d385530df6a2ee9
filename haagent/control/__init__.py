"""How a running agent is asked and told things: a Unix socket (``PROTOCOL.md``), a snapshot file, and HTTP to read from.

Decides nothing: requests become events of the core, answers are what ``core`` and ``effects`` say about themselves.
"""
