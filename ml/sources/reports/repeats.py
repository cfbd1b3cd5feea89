"""Rows of one report that share a name: executions of one test, or several tests of that name.

Retry tools that only append to a report (gotestsum, Gradle's retry plugin, xcodebuild, runners that merge reports)
list a case again in the same suite, and stop as soon as it passes. Parameter sets whose values a producer leaves out
of the name, and the browsers of Playwright, look alike, save that a pass need not be the last. Hence the rule:

- cases of one name in one suite, all failed but perhaps the last, are executions of one test;
- other cases of one name are different tests: the second one in the report is called ``name #2``, and so on;
- a report that has elements of its own for reruns (surefire) never repeats a case for one.
"""

from collections.abc import Sequence

from ml.sources.reports.rows import ERROR, FAILED, ReportRows

_BROKEN = (FAILED, ERROR)
_Case = tuple[int, int]


def told_apart(rows: ReportRows) -> tuple[Sequence[str], Sequence[int]]:
    """Name and number of each execution of a report.

    Returns:
        one test id per row, with `` #2`` where a name alone would not do; one number per row, 1 for the first
        execution of its test. No pair of the two comes twice, unless a test is really called ``name #2``.
    """
    test_ids, executions = rows.test_ids, [1] * len(rows.test_ids)
    if not rows.retried and len(set(test_ids)) == len(test_ids):
        return test_ids, executions
    named = list(test_ids)
    for name, cases in _cases_by_name(rows).items():
        for ordinal, test in enumerate(_tests(rows, cases), 1):
            positions = [row for first, stop in test for row in range(first, stop)]
            for number, row in enumerate(positions, 1):
                named[row] = name if ordinal == 1 else f"{name} #{ordinal}"
                executions[row] = number
    return named, executions


def _cases_by_name(rows: ReportRows) -> dict[str, list[_Case]]:
    stops = {test.first: test.stop for test in rows.retried}
    cases: dict[str, list[_Case]] = {}
    row = 0
    while row < len(rows.test_ids):
        stop = stops.get(row, row + 1)
        cases.setdefault(rows.test_ids[row], []).append((row, stop))
        row = stop
    return cases


def _tests(rows: ReportRows, cases: list[_Case]) -> list[list[_Case]]:
    """Cases of one name, one list per test, in the order of their first rows."""
    by_place: dict[int, list[_Case]] = {}
    for case in cases:
        by_place.setdefault(rows.places[case[0]], []).append(case)
    tests = []
    for same_place in by_place.values():
        if rows.repeats_are_reruns and all(rows.outcomes[stop - 1] in _BROKEN for _, stop in same_place[:-1]):
            tests.append(same_place)
        else:
            tests += [[case] for case in same_place]
    return sorted(tests)
