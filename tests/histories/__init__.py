"""Campaigns: concurrent clients of a real arbiter, faults of its servers and connections, and the history judged.

``python -m tests.histories --arbiter KIND --operations 100000``; the tests run a small sample of each.
"""
