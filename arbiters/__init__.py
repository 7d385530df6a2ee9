"""Arbiters: one package per backend, each reached through the entry-point group ``haagent.arbiters``.

What belongs here: the mapping of one store to ``haagent.arbiter.Arbiter``, and nothing else. Beside them lies what
several of them share: ``options`` (what they were told, checked), ``failures`` (those that leave no doubt),
``rotation`` (one question, several servers), ``rest`` (one HTTP server). No timing, no retries, no election. A module
here imports no part of haagent but ``haagent.arbiter``, and its client library only when it is opened.
"""
