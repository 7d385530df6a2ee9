"""Whether an arbiter keeps the contract: its behaviours, recorded histories, measurements.

Needs no test framework, because ``haagent arbiter check`` runs it against an operator's own arbiter;
``haagent.testing`` hands the same things to the tests of haagent and of others.
"""
