"""``python -m experiments [data folder]``: measure every set there is, then write `docs/results.md`; `make results`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments import build_risk, cold_start, flakiness, flaky_tests, labels, order_hints, test_selection
from experiments.histories import data_folder
from experiments.page import PAGE, write_page

SETS = ("iofrol", "druid", "dune", "ozone", "ozone_gha", "zephyr")
NEW_PROJECTS = ("dune", "druid", "iofrol", "ozone", "ozone_gha")
BUILDS = Path("builds") / "builds.parquet"
RISKS = ("ozone_gha",)
TRIAGED = ("ozone", "ozone_gha", "dune", "zephyr")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiments asked for, one set after the other, and render all results that there are."""
    given = _options(arguments)
    if not given.render_only:
        measure(given.data)
    write_page()
    print(f"wrote {PAGE.name}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=data_folder(), help="folder with one folder per history")
    parser.add_argument("--render-only", action="store_true", help="write the page from the results that are kept")
    return parser.parse_args(arguments)


def measure(data: Path) -> None:
    """Run every experiment whose data are there, and name the sets that are not."""
    for name in SETS:
        if (data / name).is_dir():
            test_selection.judge(data / name)
        else:
            print(f"{name}: absent, no folder of that name in the data")
    if (data / "ozone").is_dir():
        labels.judge(data / "ozone")
        flakiness.main([f"--ozone={data / 'ozone'}"])
        order_hints.main([])
    sources = [f"--history={folder}" for folder in _there(data, RISKS)]
    sources += [f"--builds={data / BUILDS}"] if (data / BUILDS).exists() else []
    if sources:
        build_risk.main(sources)
    if triaged := _there(data, TRIAGED):
        flaky_tests.main([f"--history={folder}" for folder in triaged])
    if len(left_out := _there(data, NEW_PROJECTS)) > 1:
        cold_start.main(left_out)


def _there(data: Path, names: Sequence[str]) -> list[str]:
    return [str(data / name) for name in names if (data / name).is_dir()]


if __name__ == "__main__":
    main()
