"""The command that says which tests are flaky, and since when."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from ml.cli import app
from ml.cli.output import console, grid, show
from ml.cli.pipeline import AsJson, AsOf, moment_of, projects_of
from ml.settings import load_settings

COLUMNS = ("test", "variant", "state", "P(flaky)", "rate", "reruns", "red runs", "minutes", "reason")
HINTS = ("test", "variant", "hint", "p", "evidence")
CHANGES = ("variant", "at", "was", "state", "reason", "newest failure")


@app.command(
    epilog="Example: fourgate flaky simulated/shop --history 'shop.cart.tests.test_cart_model::test_keeps_order'"
)
def flaky(  # noqa: PLR0913 - each is something to ask for
    project: Annotated[str, typer.Argument(help="Project whose tests are assessed.")],
    *,
    top: Annotated[int, typer.Option(min=1, help="How many tests to show.")] = 20,
    history: Annotated[
        str, typer.Option(metavar="TEST", help="Tell when the state of this test changed, and why.")
    ] = "",
    looks: Annotated[int, typer.Option(min=1, max=500, help="At how many moments --history looks, at most.")] = 26,
    as_of: AsOf = "",
    as_json: AsJson = False,
) -> None:
    """Show which tests are flaky, how sure that is, and how many reruns settle a failure.

    Exit code 8: there is no such test; what comes near is named.
    """
    from ml.stages import flakiness

    settings = load_settings()
    (name,) = projects_of(settings, project)
    moment = moment_of(settings, as_of)
    if history:
        found = flakiness.history(settings, name, history, looks, moment)
        show(found, as_json) if as_json else _print_history(found)
        return
    tests = flakiness.assess(settings, name, moment)[:top]
    if as_json:
        show(tests, as_json)
    else:
        _print_tests(name, tests)


def _print_tests(project: str, tests: Sequence[Mapping[str, Any]]) -> None:
    console.print(grid(f"Likeliest flaky tests of {project}", COLUMNS, [_row(test) for test in tests]))
    hints = [
        (test["test_id"], test["variant"], hint["kind"], f"{hint['p_value']:.2g}", hint["evidence"])
        for test in tests
        for hint in test["hints"]
    ]
    if hints:
        console.print(grid("Hints", HINTS, hints))


def _print_history(found: Mapping[str, Any]) -> None:
    rows = [
        [
            change["variant"],
            _minute(change["at"]),
            change["was"] or "",
            change["state"],
            change["reason"],
            _failure(change),
        ]
        for change in found["changes"]
    ]
    console.print(grid(f"States of {found['test_id']}", CHANGES, rows))
    moments = found["looked_at"]
    told = f"Looked at {len(moments)} moments, {_minute(moments[0])} to {_minute(moments[-1])}"
    console.print(f"{told}; a change is told at the first that shows it.", markup=False)


def _failure(change: Mapping[str, Any]) -> str:
    if change["failed_in"] is None:
        return ""
    return f"{change['failed_in']}: {change['held_for']} ({change['evidence'].replace(';', ', ')})"


def _minute(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _row(test: Mapping[str, Any]) -> list[str]:
    rate = f"{test['rate']:.3f} [{test['rate_low']:.3f}, {test['rate_high']:.3f}]"
    minutes = "unknown" if test["rerun_minutes"] is None else f"{test['rerun_minutes']:.1f}"
    reruns = "none settles" if test["reruns"] is None else str(test["reruns"])
    numbers = [f"{test['probability']:.3f}", rate, reruns, str(test["failed_runs"]), minutes]
    return [test["test_id"], test["variant"], test["state"], *numbers, test["reason"]]
