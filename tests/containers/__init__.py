"""The deployment of compose/ on real containers, from a machine that has nothing: ``python -m tests.containers``.

Without options the sample in tests/partition/test_compose.py; with ``--faults`` a campaign over the profiles. `make containers`.
"""
