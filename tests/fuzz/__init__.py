"""Coverage-guided fuzzing (libFuzzer by way of atheris) of whatever reads what others wrote: see targets.py."""
