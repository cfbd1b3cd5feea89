"""Writes `docs/metrics.md` from the catalogue of measures; a test compares the page with what is logged."""

from dataclasses import replace

from ml.metrics import VIEWS
from ml.metrics.catalogue import CATALOGUE, OTHERS, PROBABILITY, RANKING, Described, names
from ml.spec import Objective

_HEAD = """# Measures in MLflow

Generated from `ml/metrics/catalogue.py` by `make format`; do not edit. Names stay the same across releases.

A measure of a period is logged as `validation.<name>` for every candidate and baseline, and as `test.<name>` for the
chosen candidate and the baselines. Its 95 % interval (moving-block bootstrap over runs) stands beside it as
`<name>.low` and `<name>.high`; a bound that cannot be computed is left out. Units follow the names: `_s` seconds,
`_min` minutes, `_count` counts, `_rate` 0 to 1; everything else has no unit and lies between 0 and 1.

The end of a name is the view, which failures count:

- `_all`: all of them;
- `_new`: results whose previous execution had failed are left out;
- `_regression`: only failures whose [label](glossary.md) was regression when the model was trained. Other failures are
  left out, every passed result stays, and a run in which more than half of the results failed is left out as an outage;
- `_first`: the same with the failures of tests that had never failed before.

A view that cannot be told, such as regressions without labels, is not logged: it is missing, not 0.

`tests_at_change_recall_95` and its like are points of the selection curve: the same share of the tests of every run is
run, in steps of 0.1 %, just large enough that a failing test of 95 % of the failing runs is among them. What that share
costs in duration counts green runs too, and is missing where more than half of the durations are unknown. Minutes are
those of tests one after the other. With too few failing runs to leave one out (fewer than 1,000 for 99.9 %, than 100
for 99 %) the point is that of the hardest run seen: it has no bounds, and one more run may move it far.

| name | unit | better | models | meaning |
| --- | --- | --- | --- | --- |
"""
_WORDS = {Objective.RANKING: "rankings", Objective.PROBABILITY: "probabilities"}


def render() -> str:
    """The page as Markdown: one row per measure."""
    rows = [row for measure, described in CATALOGUE.items() for row in _rows(measure, described)]
    rows += [_row((name,), described) for name, described in OTHERS.items()]
    return _HEAD + "\n".join(rows) + "\n"


def _rows(measure: str, described: Described) -> list[str]:
    """A row; where probabilities have fewer views than rankings, a second one for those of rankings alone."""
    common = VIEWS[Objective.PROBABILITY]
    if not described.by_view or described.objectives == RANKING:
        return [_row(names(measure), described)]
    shared = _row(names(measure, common), described)
    if described.objectives == PROBABILITY:
        return [shared]
    others = tuple(view for view in VIEWS[Objective.RANKING] if view not in common)
    return [shared, _row(names(measure, others), replace(described, objectives=RANKING))]


def _row(logged: tuple[str, ...], described: Described) -> str:
    shown = ", ".join(f"`{name}`" for name in logged)
    better = {True: "more", False: "less", None: ""}[described.greater_is_better]
    models = ", ".join(_WORDS[objective] for objective in described.objectives)
    return f"| {shown} | {described.unit} | {better} | {models} | {described.meaning} |"
