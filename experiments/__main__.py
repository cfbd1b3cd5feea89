"""``python -m experiments [data folder]``: measure every set there is, then write `docs/results.md`; `make results`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments import build_risk, flaky_tests, labels, test_selection
from experiments.histories import data_folder
from experiments.page import PAGE, write_page

SETS = ("iofrol", "druid", "dune", "ozone", "ozone_gha")
LARGE = ("zephyr",)
BUILDS = Path("builds") / "builds.parquet"
RISKS = ("ozone_gha",)
TRIAGED = ("ozone", "ozone_gha", "dune")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiments asked for, one set after the other, and render all results that there are."""
    given = _options(arguments)
    if not given.render_only:
        measure(given.data, given.large)
    write_page()
    print(f"wrote {PAGE.name}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=data_folder(), help="folder with one folder per history")
    parser.add_argument("--render-only", action="store_true", help="write the page from the results that are kept")
    parser.add_argument("--large", action="store_true", help=f"take {', '.join(LARGE)} too: millions of results")
    return parser.parse_args(arguments)


def measure(data: Path, large: bool) -> None:
    """Run every experiment whose data are there, and name the sets that are not."""
    for name in (*SETS, *(LARGE if large else ())):
        if (data / name).is_dir():
            test_selection.judge(data / name)
        else:
            print(f"{name}: absent, no folder of that name in the data")
    if (data / "ozone").is_dir():
        labels.judge(data / "ozone")
    sources = [f"--history={data / name}" for name in RISKS if (data / name).is_dir()]
    sources += [f"--builds={data / BUILDS}"] if (data / BUILDS).exists() else []
    if sources:
        build_risk.main(sources)
    triaged = [f"--history={data / name}" for name in TRIAGED if (data / name).is_dir()]
    if triaged:
        flaky_tests.main(triaged)


if __name__ == "__main__":
    main()
