"""Writes `docs/metrics.md` from the catalogue of measures; a test compares the page with what is logged."""

from ml.metrics.catalogue import CATALOGUE, OTHERS, Described, names
from ml.spec import Objective

_HEAD = """# Measures in MLflow

Generated from `ml/metrics/catalogue.py` by `make format`; do not edit. Names stay the same across releases.

A measure of a period is logged as `validation.<name>` for every candidate and baseline, and as `test.<name>` for the
chosen candidate and the baselines. Its 95 % interval (moving-block bootstrap over runs) stands beside it as
`<name>.low` and `<name>.high`; a bound that cannot be computed is left out. `_all` counts all failures, `_new` leaves
out results whose previous execution had failed. Units follow the names: `_s` seconds, `_count` counts, `_rate` 0 to 1;
everything else has no unit and lies between 0 and 1.

| name | unit | better | models | meaning |
| --- | --- | --- | --- | --- |
"""
_WORDS = {Objective.RANKING: "rankings", Objective.PROBABILITY: "probabilities"}


def render() -> str:
    """The page as Markdown: one row per measure."""
    rows = [_row(names(measure), described) for measure, described in CATALOGUE.items()]
    rows += [_row((name,), described) for name, described in OTHERS.items()]
    return _HEAD + "\n".join(rows) + "\n"


def _row(logged: tuple[str, ...], described: Described) -> str:
    shown = ", ".join(f"`{name}`" for name in logged)
    better = {True: "more", False: "less", None: ""}[described.greater_is_better]
    models = ", ".join(_WORDS[objective] for objective in described.objectives)
    return f"| {shown} | {described.unit} | {better} | {models} | {described.meaning} |"
