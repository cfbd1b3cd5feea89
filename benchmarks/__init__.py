"""Fourgate side by side with named peers; see docs/benchmarks.md. `python -m benchmarks --help`."""
