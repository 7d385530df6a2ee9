"""``haagent witness``: an arbiter for a third place that has nothing else. One process, one file, one key.

A single server of compare-and-swap registers: durable, authenticated in both directions, bounded in everything a
stranger could make it spend. ``wire`` is what it speaks and its client uses, ``store`` the file, ``committer`` what
makes many swaps one write to the disk, ``hints`` what watchers are told, ``guest`` one connection, ``server`` all.
"""
