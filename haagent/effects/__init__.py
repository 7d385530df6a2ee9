"""Actions turned into system calls, and system calls turned into events. Decides nothing."""
