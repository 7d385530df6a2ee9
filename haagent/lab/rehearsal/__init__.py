"""A user's own configuration, rebuilt in network namespaces and broken there on purpose.

Reads files, builds a ``Stage`` (a lab cluster), plays a list of faults and judges them from outside, as the rest of the
lab does. May not touch what the configuration names on this machine: its interfaces, arbiter, scripts and files are
replaced by the lab's, and what was replaced is said.
"""
