"""How a running agent is asked and told things: one Unix socket, JSON lines (``PROTOCOL.md``), and a snapshot file.

Decides nothing: requests become events of the core, answers are what ``core`` and ``effects`` say about themselves.
"""
