"""`python -m benchmarks`: run them, print ratios, write one JSON file each."""

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.pairing import ROUNDS, Outcome, Pairing, exponent, measure, slopes

RESULTS = Path(__file__).parent / "results"
# Modules by name, imported when they run: `--help` must not wait for their libraries.
BENCHMARKS = {
    "features": "benchmarks.feature_frame",
    "labels": "benchmarks.labelling",
    "scaling": "benchmarks.scaling",
    "spark": "benchmarks.spark",
    "publishing": "benchmarks.publishing",
    "validation": "benchmarks.validating",
    "append": "benchmarks.appending",
    "learning": "benchmarks.learning",
    "reports": "benchmarks.reading",
    "orchestration": "benchmarks.orchestration",
}
LIBRARIES = ("pandas", "duckdb", "deltalake", "pyarrow", "pandera", "psycopg2-binary", "lxml", "junitparser")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    print("ratio = our seconds / the peer's, median of the rounds (lowest to highest); below 1 ours is faster")
    for name in options.only or BENCHMARKS:
        module = import_module(BENCHMARKS[name])
        print(f"\n{name}: {module.__doc__}", flush=True)
        figures = _counted(module.figures, options.quick) if hasattr(module, "figures") else []
        outcomes = _measured(module.pairings, options.quick, options.rounds) if hasattr(module, "pairings") else []
        grown = slopes(outcomes)
        for slope in grown:
            print(
                f"  {slope['family']}: from {slope['from']:,} to {slope['to']:,} {slope['unit']} CPU seconds grow as "
                f"n^{slope['ours']:.2f} (ours) and n^{slope['peer']:.2f} (peer)"
            )
        document = {"outcomes": [outcome.to_dict() for outcome in outcomes], "slopes": grown, "figures": figures}
        _write(options.results / f"{name}.json", name, options, document)
    print(f"\nwritten to {options.results}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Fourgate side by side with named peers; see docs/benchmarks.md."
    )
    parser.add_argument("--only", metavar="NAME", choices=list(BENCHMARKS), action="append", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="small inputs, seconds: proves that all run, no more")
    parser.add_argument("--rounds", type=_at_least_three, default=ROUNDS, help="pairs to time, 3 or more")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    return parser.parse_args(arguments)


def _at_least_three(text: str) -> int:
    rounds = int(text)
    if rounds < ROUNDS:
        raise argparse.ArgumentTypeError(f"{rounds} rounds make no median; expected {ROUNDS} or more")
    return rounds


def _counted(figures: Callable[[bool, Path], Iterator[Any]], quick: bool) -> list[dict[str, Any]]:
    """Figures without a peer; printed as they come."""
    found = []
    with _scratch() as scratch:
        for figure in figures(quick, scratch):
            print(f"  {figure}", flush=True)
            found.append(asdict(figure))
    sized = [(figure["count"], figure["cpu_s"]) for figure in found if "cpu_s" in figure]
    if len(sized) > 1:
        print(
            f"  from {sized[0][0]:,} to {sized[-1][0]:,} CPU seconds grow as rows^{exponent(sized[0], sized[-1]):.2f}"
        )
    return found


def _measured(pairings: Callable[[bool, Path], Iterator[Pairing]], quick: bool, rounds: int) -> list[Outcome]:
    outcomes = []
    with _scratch() as scratch, closing(pairings(quick, scratch)) as found:
        for pairing in found:
            outcomes.append(measure(pairing, rounds))
            _show(outcomes[-1])
    return outcomes


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fourgate-bench-"))
    folder.chmod(0o711)  # root's PostgreSQL works as a user of its own and must pass through
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _show(outcome: Outcome) -> None:
    ours, peer = (outcome.count / median(seconds) for seconds in (outcome.ours_s, outcome.peer_s))
    counted = f"{outcome.count:,} {outcome.unit}"
    size = counted if outcome.size == counted else f"{outcome.size} ({counted})"
    print(f"  {outcome.family}, {size}: {outcome.ours} / {outcome.peer}")
    print(
        f"    ratio {outcome.ratio:.2f} ({min(outcome.ratios):.2f} to {max(outcome.ratios):.2f}); {ours:,.0f} / "
        f"{peer:,.0f} {outcome.unit}/s; {median(outcome.ours_s):.3f} s / {median(outcome.peer_s):.3f} s"
    )
    print(f"    equal: {outcome.equal}; {outcome.note}", flush=True)


def _write(path: Path, name: str, options: argparse.Namespace, found: Mapping[str, Any]) -> None:
    document = {
        "benchmark": name,
        "quick": options.quick,
        "rounds": options.rounds,
        "ratio": "our seconds / the peer's, median of pair-wise ratios; below 1 ours is faster",
        "machine": {
            "platform": platform.platform(),
            "python": platform.python_version(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "load_1min": os.getloadavg()[0],
            "libraries": {library: version(library) for library in LIBRARIES},
        },
        **found,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    # As an exception, so that a killed benchmark still stops its PostgreSQL and removes its folder.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    raise SystemExit(main())
