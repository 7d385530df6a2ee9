"""What a shared-file arbiter makes of its options."""

from __future__ import annotations

from arbiters.shared_file.settings import SLOWEST_POLL, read_settings
from haagent.arbiter import ArbiterOptions


def test_a_node_that_moved_waits_one_lease_however_long_records_are_kept() -> None:
    """Counterexample: with failsafe, records are kept for hours, and a restarted container waited for hours."""
    settings = read_settings(ArbiterOptions(("/votes/1",), "web", "n1", 1.0, {}, keep=28800.0))
    assert settings.grace == 1.0
    assert settings.poll < SLOWEST_POLL
