"""`docs/results.md` and its plots, from ``experiments/results/*.json`` and what others published."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from benchmarks import label_truth
from experiments import build_risk, hindsight, test_selection
from experiments.behind import EQUAL
from experiments.labels import FILE as LABELS
from experiments.misses import EARLY, KINDS
from experiments.rows import LEAST_RUNS, RESULTS, Row
from experiments.selection_points import RECALLS, TARGETS
from experiments.test_selection import (
    BY_COST,
    EXPERIMENT,
    LIMITS,
    MODEL,
    MODELS,
    ONCE,
    ONCE_BY_COST,
    OPTIMAL,
    TOLD,
    VIEWS,
)
from ml import plots
from ml.metrics.runs import MAX_FAILED_SHARE, MIN_RESULTS
from ml.training.periods import CALIBRATE_SHARE, FIT_SHARE

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
PLOTS = ROOT / "docs" / "results"
PUBLISHED = Path(__file__).parent / "published.json"
TEMPLATE = "results.md.jinja"
BUILD_RISK = "build_risk.json"
FLAKINESS = "flakiness.json"
FLAKY_TESTS = "flaky_tests.json"
NEW_PROJECT = "cold_start.json"
ORDER_HINTS = "order_hints.json"
SETS = ("ozone", "ozone_gha", "dune", "druid", "iofrol", "zephyr")
MEASURES = ("apfd", "apfdc")
AGREES = 0.005
SHARES = {
    "learned": test_selection.LEARNED_SHARE,
    "parts": test_selection.PARTS,
    "fit": FIT_SHARE,
    "calibrate": CALIBRATE_SHARE,
    "least": MIN_RESULTS,
    "most_failed": MAX_FAILED_SHARE,
    "learned_builds": build_risk.LEARNED_SHARE,
    "fit_labels": label_truth.FIT_SHARE,
    "agrees": AGREES,
    "least_runs": LEAST_RUNS,
}
PLOT_DPI = 70  # a page, not a poster: the repository keeps them
LOWER_IS_BETTER = ("brier", "ece")
SHOWN_RUNS = 12  # of those that lose most; the JSON files have every one
NO_MISS = 0.01  # of a run's APFD
HALF = 0.5  # of the gap on new failures: the aim
NAMES = {
    "recently_failed_first": "last failed first",
    "failure_rate_with_decay": "EWMA of failures",
    "failure_rate_per_second": "EWMA per second",
    "failure_count": "failure count",
    MODEL: "**model**",
    BY_COST: "**model, by cost**",
    ONCE: "model, learned once",
    ONCE_BY_COST: "model, learned once, by cost",
    TOLD: "*learned in hindsight*",
    "previous_outcome": "previous outcome",
    "outcomes_with_decay": "EWMA of outcomes",
    "change_metrics": "change metrics",
}


def read(path: Path) -> dict[str, Any]:
    """A document of results; without rows where there is none."""
    if not path.exists():
        return {"about": {}, "rows": []}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def render(results: Path = RESULTS) -> str:
    """Text of the page. A set without results is named as absent."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": cell, "called": called, "number": number, "percent": percent}
    documents = {name: read(results / f"{EXPERIMENT}_{name}.json") for name in SETS}
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return environment.get_template(TEMPLATE).render(
        sets={name: found for name, found in documents.items() if found["rows"]},
        absent=[name for name, found in documents.items() if not found["rows"]],
        published=published,
        builds=read(results / BUILD_RISK),
        labels=read(results / LABELS),
        flakiness=_rows_only(read(results / FLAKINESS))["rows"],
        order_hints=_rows_only(read(results / ORDER_HINTS))["rows"],
        triage=read(results / FLAKY_TESTS),
        left_out=read(results / NEW_PROJECT),
        others=_others(results),
        agreement=list(agreement(documents, published)),
        choices={"views": VIEWS, "measures": MEASURES, "recalls": RECALLS, "targets": TARGETS},
        kinds=KINDS,
        early=EARLY,
        shares=SHARES,
        share=lambda value: f"{100 * value:.0f} %",
        at=at,
        methods=methods,
        means=means,
        aim=aim,
        against=against,
        best_of=best_of,
        reasons=reasons,
        runs_of_half=runs_of_half,
        worst=worst,
        no_miss=NO_MISS,
        equal=EQUAL,
        reach=reach,
        told=TOLD,
        least_taught=hindsight.LEAST_RUNS,
    )


def _others(results: Path) -> dict[str, dict[str, Any]]:
    """Results of experiments that have no section of their own: shown row by row."""
    known = {BUILD_RISK, FLAKINESS, FLAKY_TESTS, LABELS, NEW_PROJECT, ORDER_HINTS}
    found = {path.stem: path for path in sorted(results.glob("*.json")) if path.name not in known}
    return {name: _rows_only(read(path)) for name, path in found.items() if not name.startswith(EXPERIMENT)}


def _rows_only(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {"about": {}, "rows": found}


def at(rows: Iterable[Row], **wanted: Any) -> Row:
    """The first row with these values; an empty one where there is none."""
    return next((row for row in rows if all(row.get(key) == value for key, value in wanted.items())), {})


def methods(rows: Iterable[Row]) -> list[str]:
    """Names of all methods: baselines, then the model, then the optimum."""
    last = {name: place for place, name in enumerate((*MODELS, *LIMITS), start=1)}
    return sorted(dict.fromkeys(row["method"] for row in rows), key=lambda name: (last.get(name, 0), name))


def best_of(rows: Sequence[Row], measure: str) -> Row:
    """Row of the baseline with the highest value."""
    rivals = [row for row in rows if row["measure"] == measure and row["method"] not in (*MODELS, *LIMITS)]
    return max(rivals, key=lambda row: row["value"], default={})


def means(rows: Sequence[Row], **wanted: Any) -> dict[str, float]:
    """Mean over projects of each method's values."""
    table = pd.DataFrame([row for row in rows if all(row.get(key) == value for key, value in wanted.items())])
    if table.empty:
        return {}
    return {str(name): float(value) for name, value in table.groupby("method")["value"].mean().items()}


def aim(rows: Sequence[Row], method: str, measure: str) -> str:
    """What the aim says to a model: on all failures at or above the best baseline, on new ones half of the gap."""
    lead, closed = (at(rows, method=method, measure=f"{measure}_{part}") for part in ("lead", "gap_closed"))
    if not lead:
        return "no model"
    judged, limit = (closed, HALF) if measure.endswith("_new") else (lead, 0.0)
    return _surely("met" if judged["value"] >= limit else "missed", judged, limit)


def reach(closed: Row) -> str:
    """Whether half of the gap is within the reach of an order that closes so much of it."""
    return _surely("yes" if closed["value"] >= HALF else "no", closed, HALF) if closed else "–"


def _surely(answer: str, judged: Row, limit: float) -> str:
    is_sure = judged["low"] is not None and not judged["low"] < limit <= judged["high"]
    return answer if is_sure else f"{answer}, within chance"


def against(rows: Sequence[Row], rival: str) -> list[Row]:
    """The model's figures with a rival's: the lead (above 0 is better), and whether theirs lies in our interval."""
    found = []
    for own in (row for row in rows if row["method"] == MODEL):
        theirs = at(rows, method=rival, **{key: own[key] for key in ("set", "project", "measure")})
        if not theirs or None in (own["value"], theirs["value"]):
            continue
        sign = -1 if own["measure"] in LOWER_IS_BETTER else 1
        is_within = own["low"] is not None and own["low"] <= theirs["value"] <= own["high"]
        lead = sign * (own["value"] - theirs["value"])
        found.append({**own, "rival": theirs["value"], "lead": lead, "is_within": is_within})
    return found


def agreement(documents: Mapping[str, Any], published: Mapping[str, Any]) -> Iterable[Row]:
    """Our figures of the baselines beside the published ones."""
    for known in published["baselines"]:
        rows = documents[known["set"]]["rows"]
        pairs = {
            (method, measure): at(rows, method=method, measure=f"{measure}_{known['view']}").get("value")
            for method in published["methods"]
            for measure in MEASURES
        }
        theirs = [value for method in published["methods"] for value in known[method]]
        if None in pairs.values():
            continue
        apart = {name: ours - value for (name, ours), value in zip(pairs.items(), theirs, strict=True)}
        runs = at(rows, method=OPTIMAL, measure=f"apfd_{known['view']}")["runs"]
        far = {name: found for name, found in apart.items() if abs(found) > AGREES}
        yield {**{key: known[key] for key in ("set", "view", "runs")}, "our_runs": runs, "apart": apart, "far": far}


def reasons(missed_runs: Sequence[Row]) -> list[Row]:
    """Each kind and label through which runs lose most: its runs, and the share of all that is lost in them."""
    table = pd.DataFrame(missed_runs, columns=["kind", "state", "tests", "lost", "rival_lost"])
    total = table["lost"].sum()
    found = [
        {
            "kind": kind,
            "state": state,
            "runs": len(some),
            "lost": some["lost"].mean(),
            "rival_lost": some["rival_lost"].mean(),
            "share": some["lost"].sum() / total if total else 0.0,
        }
        for (kind, state), some in table.groupby(["kind", "state"])
    ]
    return sorted(found, key=lambda row: -row["share"])


def runs_of_half(missed_runs: Sequence[Row]) -> int:
    """How many runs, those that lose most, make half of all that is lost."""
    lost = pd.Series([row["lost"] for row in missed_runs], dtype=float).sort_values(ascending=False).cumsum()
    return int((lost < HALF * lost.iloc[-1]).sum()) + 1 if len(lost) else 0


def worst(missed_runs: Sequence[Row]) -> list[Row]:
    """The runs that lose most, up to `SHOWN_RUNS`."""
    return sorted(missed_runs, key=lambda row: (-row["lost"], row["run"]))[:SHOWN_RUNS]


def cell(row: Row) -> str:
    """A value with its interval; a dash where there is none."""
    if not row or row["value"] is None:
        return "–"
    low, high = (number(row.get(bound)) for bound in ("low", "high"))
    bounds = "" if row.get("low") is None else f" [{low}, {high}]"
    return f"{row['value']:.3f}{bounds}"


def called(name: str) -> str:
    """How the page names a method."""
    return NAMES.get(name, name.replace("_", " "))


def number(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share of 0..1 as a percentage, or a dash."""
    return "–" if value is None else f"{100 * value:.1f} %"


def draw(results: Path = RESULTS, folder: Path = PLOTS, tell: Callable[[str], None] = print) -> None:
    """A plot of the selection curve of each set: new failures; model, best baseline, random."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SETS:
        found = read(results / f"{EXPERIMENT}_{name}.json")
        if found["rows"]:
            curves = {called(curve["method"]).strip("*"): pd.DataFrame(curve) for curve in found["curves"]}
            plots.ranking(curves, f"{name}: new failures of the last 40 % of runs", 0.3).savefig(
                folder / f"{name}.png", dpi=PLOT_DPI
            )
            tell(f"drew {name}")


def write_page(results: Path = RESULTS) -> None:
    """Write the page and its plots."""
    draw(results)
    PAGE.write_text(render(results), encoding="utf-8")
