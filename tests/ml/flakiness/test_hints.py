"""Hints of typed executions: what is significant is told with its numbers, what is not is left out."""

import numpy as np
import pandas as pd
import pytest

from ml.flakiness import Hint, HintKind, hints
from ml.sources.simulator import World, simulate
from ml.spec import MERGED_RESULT
from tests.ml.flakiness.flakiness_builders import history

PASS_S, SLOW_S = 2.0, 9.0
KINDS = {"t": "timeout", "n": "network", "m": "resource", "a": "assertion"}
NEIGHBOURS = [*MERGED_RESULT, "failed", "before"]
NO_ORDER = pd.DataFrame(columns=NEIGHBOURS).astype({"failed": bool})
NO_TEXTS = pd.DataFrame(columns=[*MERGED_RESULT, "kind"])
Frames = tuple[pd.DataFrame, pd.DataFrame]


def timed(frames: Frames, failures_s: float | None, passes_s: float | None = PASS_S) -> Frames:
    """Durations by outcome, a little apart from each other."""
    executions, labels = frames
    drift = np.arange(len(executions)) / 1000
    seconds = np.where(executions["failed"], failures_s or np.nan, passes_s or np.nan) + drift
    return executions.assign(duration_s=seconds), labels


def joined(*histories: Frames) -> Frames:
    executions, labels = zip(*histories, strict=True)
    return pd.concat(executions), pd.concat([frame for frame in labels if len(frame)])


def hints_of(frames: Frames, variant: str = "v", texts: str = "") -> dict[str, Hint]:
    """Hints of ``t``; `texts` are what its failures speak of, in order: t timeout, n network, m memory, - nothing."""
    failed = frames[0].query("failed and test_id == 't'")[MERGED_RESULT].head(len(texts))
    spoken = failed.assign(kind=[KINDS.get(letter) for letter in texts])
    found = hints(*frames, spoken.dropna(subset="kind"), NO_ORDER, [(variant, "t")])
    assert set(found) == {(variant, "t")}
    return {hint.kind.value: hint for hint in found[(variant, "t")]}


def test_failures_that_take_longer_than_passes_hint_at_timing() -> None:
    (hint,) = hints_of(timed(history("ppfpppfppppfpppppp"), SLOW_S)).values()
    assert hint.kind == "timing"
    assert hint.evidence == "3 failures took 9.01 s (median), 15 passes 2.01 s"
    assert 0.001 < hint.p_value < 0.05


@pytest.mark.parametrize("seconds", [0.5, PASS_S])
def test_failures_that_take_no_longer_hint_at_nothing(seconds: float) -> None:
    assert hints_of(timed(history("ppfpppfppppfpppppp"), seconds)) == {}


@pytest.mark.parametrize(("failures_s", "passes_s"), [(None, None), (None, PASS_S), (SLOW_S, None)])
def test_unknown_durations_hint_at_nothing(failures_s: float | None, passes_s: float | None) -> None:
    assert hints_of(timed(history("ppfpppfppppfpppppp"), failures_s, passes_s)) == {}


def test_one_failure_has_nothing_in_common_with_another() -> None:
    assert hints_of(timed(history("p" * 200 + "f"), SLOW_S)) == {}


def test_failures_together_with_others_hint_at_resources() -> None:
    outcomes = "ppfpppfppppfpppppp"
    crowd = [timed(history(outcomes, test=name), PASS_S) for name in ("a", "b", "c")]
    (hint,) = hints_of(joined(timed(history(outcomes), PASS_S), *crowd)).values()
    assert (hint.kind, hint.evidence) == (
        "resource",
        "in runs with 3 or more other flaky failures: 3 of 3 failures, 0 of 15 passes",
    )
    # one choice of three among the 816 of eighteen executions, for two hints that were tried
    assert hint.p_value == pytest.approx(2 / 816)


def test_two_others_are_no_crowd_and_an_outage_is_not_counted() -> None:
    own = timed(history("ppfpppfppppfpppppp"), PASS_S)
    two = [timed(history("ppfpppfppppfpppppp", test=name), PASS_S) for name in ("a", "b")]
    down = [timed(history("ppipppippppipppppp", test=name), PASS_S) for name in ("c", "d", "e")]
    assert hints_of(joined(own, *two, *down)) == {}


def test_failures_on_one_variant_hint_at_the_platform() -> None:
    frames = joined(
        *(timed(history(text, variant=name), PASS_S) for name, text in (("v", "pfpfpfpfpp"), ("w", "p" * 30)))
    )
    (hint,) = hints_of(frames).values()
    assert (hint.kind, hint.evidence) == (
        "platform",
        "fails 4 of 10 times here, 0 of 30 times on other variants",
    )
    assert hints_of(frames, "w") == {}


def test_equal_rates_on_all_variants_and_a_single_variant_hint_at_no_platform() -> None:
    equal = [timed(history("pfpppfppppfppp", variant=name), PASS_S) for name in ("v", "w")]
    assert hints_of(joined(*equal)) == {}
    assert hints_of(equal[0]) == {}


def test_failures_of_the_code_are_no_evidence() -> None:
    frames = joined(
        *(timed(history(text, variant=name), SLOW_S) for name, text in (("v", "prprprprpp"), ("w", "p" * 30)))
    )
    assert hints_of(frames) == {}


@pytest.mark.parametrize(
    ("texts", "kind", "evidence"),
    [
        ("ttt", "timing", "the text of 3 of 3 failures speaks of a timeout"),
        ("nn-n", "network", "the text of 3 of 3 failures speaks of a connection"),
        ("mmmm", "resource", "the text of 4 of 4 failures speaks of memory, disk or the like"),
    ],
)
def test_what_texts_of_failures_speak_of_is_a_hint(texts: str, kind: str, evidence: str) -> None:
    (hint,) = hints_of(timed(history("ppfpppfppppfpppppppf"), None), texts=texts).values()
    assert (hint.kind, hint.evidence) == (kind, evidence)


@pytest.mark.parametrize("texts", ["n", "nn", "naaa", "aaaa", "tnma", "mmam", ""])
def test_texts_that_differ_or_are_few_hint_at_nothing(texts: str) -> None:
    assert hints_of(timed(history("ppfpppfppppfpppppppf"), PASS_S), texts=texts) == {}


def test_texts_of_failures_of_the_code_are_no_evidence() -> None:
    assert hints_of(timed(history("prprprprpp"), PASS_S), texts="nnnn") == {}


def in_order(frames: Frames, before: str, variant: str = "v") -> pd.DataFrame:
    """What ran before ``t`` on a variant: a letter per run, - for nothing."""
    own = frames[0].query("test_id == 't' and variant == @variant")
    return own.assign(before=[None if letter == "-" else f"S::{letter}" for letter in before])[NEIGHBOURS]


def order_hint(outcomes: str, before: str) -> Hint | None:
    frames = timed(history(outcomes), None)
    (told,) = hints(*frames, NO_TEXTS, in_order(frames, before), [("v", "t")]).values()
    return next((hint for hint in told if hint.kind is HintKind.ORDER), None)


MANY = "abdefghijklmdefghijklmb"  # thirteen with those before, each at least twice


def test_failures_right_after_one_test_hint_at_the_order_and_name_it() -> None:
    hint = order_hint("ppfpppfpppfppppfpppfp", "abcabbcabacbaabcbabcb")
    assert hint is not None
    assert hint.evidence == "fails 5 of 5 times right after S::c, 0 of 13 times otherwise"
    # one choice of five among the 8,568 of eighteen executions from the first to the last after c, for three tests
    # that it ran after; the crowd was tried too
    assert hint.p_value == pytest.approx(2 * 3 / 8568)


def test_failures_of_the_first_of_a_report_hint_at_the_order() -> None:
    hint = order_hint("ppfpppfpppfppppfpppfp", "ab-abb-aba-baab-bab-b")
    assert hint is not None
    assert hint.evidence == "fails 5 of 5 times as the first of its report, 0 of 13 times otherwise"


@pytest.mark.parametrize(
    ("outcomes", "before"),
    [
        ("ppfpppfpppfppppfpppfp", "c" * 21),  # always in the same order
        ("ppfpppfpppfppppfpppfp", "abcabbaababbaabaabacb"),  # a single failure after c
        ("ppppppppppfpppfpppfpp", "aaaaaaaaaaccccccccccc"),  # c came and stayed when the test began to fail
        ("fpppfppppfppfpppfpppp", "abcabcabcabcabcabcabc"),  # after any of them
        ("pprppprppprpppprppprp", "abcabbcabacbaabcbabcb"),  # failures of the code
    ],
    ids=["constant", "single", "new neighbour", "any", "regression"],
)
def test_failures_that_the_order_does_not_explain_give_no_hint(outcomes: str, before: str) -> None:
    assert order_hint(outcomes, before) is None


def test_failures_of_one_run_are_one_failure() -> None:
    """Attempts of one run share what made it fail."""
    frames = timed(history("pppppppppppppppf"), None)
    placed = in_order(frames, "ababababababababc"[:16])
    again = placed.tail(1).assign(before="S::c")
    (told,) = hints(*frames, NO_TEXTS, pd.concat([placed, again, again, again]), [("v", "t")]).values()
    assert told == ()


def test_the_more_tests_it_ran_after_the_less_sure_is_one_of_them() -> None:
    few, many = (order_hint("pfpppfpppfpp" + "p" * 24, f"acabacbbbcab{rest}c") for rest in ("ab" * 11 + "a", MANY))
    assert few is not None
    assert many is not None
    assert many.p_value == pytest.approx(few.p_value * 13 / 3)


def test_an_order_that_never_changes_is_not_counted_among_the_hints_that_were_tried() -> None:
    frames = timed(history("ppfpppfppppfpppppp"), SLOW_S)
    nothing, constant = (
        hints(*frames, NO_TEXTS, order, [("v", "t")]) for order in (NO_ORDER, in_order(frames, "a" * 18))
    )
    assert nothing == constant != {("v", "t"): ()}


def test_a_test_that_never_ran_has_no_hints() -> None:
    assert hints(*timed(history("pp"), None), NO_TEXTS, NO_ORDER, [("v", "unheard")]) == {("v", "unheard"): ()}


@pytest.mark.slow
def test_chance_gives_a_hint_to_few_tests_without_a_cause() -> None:
    rng = np.random.default_rng(7)
    tests = [f"t{number}" for number in range(200)]
    frames = []
    for name in tests:
        for variant in ("v", "w"):
            outcomes = "".join(rng.choice(["p", "f"], size=60, p=[0.9, 0.1]))
            executions, labels = history(outcomes, test=name, variant=variant)
            frames.append((executions.assign(duration_s=rng.exponential(3, 60)), labels))
    found = hints(*joined(*frames), NO_TEXTS, NO_ORDER, [("v", name) for name in tests])
    # the crowd is there in nearly every run, which makes its hint a test of little, and the others share 5 %
    assert sum(1 for told in found.values() if told) <= 18


@pytest.mark.slow
def test_platform_flaky_tests_of_the_simulator_are_told_apart() -> None:
    world = simulate(
        World(seed=8, run_count=250, module_count=4, flaky_share=0.4, drift_at=0.01, drift_failure_factor=8)
    )
    truth = world.failures.groupby(["run_id", "variant", "test_id"], as_index=False)[["state", "cause"]].first()
    results = world.test_results.query("outcome != 'skipped'").assign(failed=lambda rows: rows["outcome"] != "passed")
    executions = results.groupby(["run_id", "variant", "test_id"], as_index=False)[["failed", "duration_s"]].max()
    kinds = world.tests.set_index("test_id")["flakiness"].dropna()
    found = hints(executions, truth, NO_TEXTS, NO_ORDER, [("windows", str(name)) for name in kinds.index])
    given = {str(kinds[name]) for (_, name), told in found.items() if "platform" in {hint.kind for hint in told}}
    assert given == {"platform"}
