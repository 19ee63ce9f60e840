"""Fuzzing of what takes bytes from outside: ``targets.py``; long runs by scripts/fuzz.sh."""
