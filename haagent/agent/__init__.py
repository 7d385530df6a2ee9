"""The agent: wires the core to the effects and keeps it running. No protocol decision is made here.

``parameters`` translates a configuration for the core, ``worker`` is the loop, ``reporting`` fills the status
document, ``supervisor`` keeps one worker alive.
"""
