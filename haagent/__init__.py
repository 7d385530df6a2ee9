"""haagent keeps a virtual IP on exactly one healthy node."""

__version__ = "0.1.0"
