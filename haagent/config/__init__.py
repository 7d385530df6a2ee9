"""keepalived.conf, read into frozen dataclasses, with haagent's own blocks beside it."""
