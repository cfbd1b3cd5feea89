"""Measurements on real histories. Each module writes rows to ``experiments/results/<name>.json`` for `docs/results.md`.

A row says experiment, set, project, method, measure, value with its 95 % interval, and the number of judged runs.
"""
