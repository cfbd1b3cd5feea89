import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lxml import html

from ml.gates import Comparison, Selection, compare, gate_report, judge, selections
from ml.gates.checks import at_least, conclude, reported
from ml.gates.report import number, plot, rule, word
from ml.spec import FailureState, Measure, Objective, Verdict
from tests.ml.gates.gates_builders import SPLIT, ranking, thresholds, varied

HOSTILE = "<script>alert('1')</script><img src=x onerror=\"alert(2)\"> & ' {{ 7*7 }}"
EVIDENCE = ranking({"candidate": varied(1), "champion": varied(3, seed=2), "decay": varied(6, seed=3)})
STATISTICAL = judge("statistical", EVIDENCE, thresholds())
COMPARISON = compare(EVIDENCE, thresholds().statistical)
FACTS = {"model": "test_selection", "project": "ozone", "snapshot": "7", "thresholds": "version 1"}


def page(*verdicts: Verdict, comparison: Comparison | None = COMPARISON, shown: Sequence[Selection] = ()) -> Any:
    return html.fromstring(gate_report(verdicts, FACTS, SPLIT.test, comparison, shown))


def text(element: Any) -> str:
    return " ".join(element.text_content().split())


def test_a_reader_finds_verdict_route_period_and_every_check() -> None:
    document = page(STATISTICAL)
    said = text(document)
    assert text(document.find(".//h1")) == "Gate report: promote"
    assert "route: better" in said
    assert "2026-06-01T00:00:00+00:00 to 2026-07-01T00:00:00+00:00" in said
    assert "better than the champion, and than the trivial baselines, by more than chance?" in said
    rows = [[text(cell) for cell in row] for row in document.xpath("//section[@id='gate-1']//tbody/tr")]
    assert [row[0] for row in rows] == [check.name for check in STATISTICAL.checks]
    assert rows[2][1:4] == ["passed", "40", "at least 20"]
    assert rows[4][3] == "above 0.002"


def test_candidate_champion_and_baseline_stand_with_their_intervals_in_table_and_picture() -> None:
    document = page(STATISTICAL)
    rows = [[text(cell) for cell in row] for row in document.xpath("//section[@id='comparison']//tbody/tr")]
    assert [row[0] for row in rows] == ["candidate", "champion", "decay"]
    lead = COMPARISON.leads["champion"]
    assert rows[1][3:] == [f"{lead.value:+.4g}", f"{lead.low:+.4g} to {lead.high:+.4g}"]
    assert len(document.xpath("//*[local-name()='circle']")) == 3
    assert "one line per contestant" in text(document.xpath("//*[local-name()='svg']")[0])


def test_hostile_names_are_text_and_nothing_else() -> None:
    bad = conclude(HOSTILE, [at_least(HOSTILE, 1.0, 0.0, HOSTILE), reported(HOSTILE, 1.0, HOSTILE)])
    comparison = Comparison(HOSTILE, 3, {HOSTILE: Measure(0.5, 0.4, 0.6)}, {HOSTILE: Measure(0.0, -0.1, 0.1)})
    document = html.fromstring(gate_report([bad], {HOSTILE: HOSTILE}, SPLIT.test, comparison))
    assert document.xpath("//script|//img|//@onerror") == []
    assert text(document.xpath("//dd")[0]) == HOSTILE
    assert text(document.xpath("//section[@id='gate-1']//tbody/tr/th")[0]) == HOSTILE


def test_the_page_stands_alone() -> None:
    document = page(STATISTICAL)
    assert document.xpath("//script|//link|//iframe|//object|//@src|//@href") == []
    assert "url(" not in html.tostring(document, encoding="unicode")
    assert document.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")[0].startswith("default-src 'none'")
    assert document.get("lang") == "en"


def test_a_missing_number_and_a_failed_gate_are_said_in_words() -> None:
    error = conclude("data_quality", [at_least("train_rows", None, 10, "never counted"), at_least("x", 1.0, 2.0)])
    document = page(error, comparison=None)
    assert text(document.find(".//h1")) == "Gate report: do not promote"
    assert document.xpath("//section[@id='comparison']") == []
    assert [text(cell) for cell in document.xpath("//tbody/tr[1]/*")] == [
        "train_rows",
        "missing",
        "missing",
        "at least 10",
        "never counted",
    ]
    assert text(document.xpath("//span[@class='status error']")[0]) == "error"


def test_no_verdicts_promote_nothing() -> None:
    assert "do not promote" in text(page().find(".//h1"))


def test_numbers_and_rules_read_well() -> None:
    assert [number(value) for value in (None, math.nan, 0.0, 12345.0, 0.123456, 1e-9)] == [
        "missing",
        "missing",
        "0",
        "12,345",
        "0.1235",
        "1e-09",
    ]
    assert (word(reported("a", 1.0, "n=3")), rule(reported("a", 1.0, "n=3"))) == ("reported", "not judged")


def test_the_plot_survives_missing_intervals_and_equal_means() -> None:
    drawn = plot({"a": Measure(0.5, math.nan, math.nan), "b": Measure(math.nan, math.nan, math.nan)})
    assert drawn is not None
    assert [(bar.name, bar.low) for bar in drawn.bars] == [("a", None)]
    assert plot({"b": Measure(math.nan, math.nan, math.nan)}) is None
    assert plot({}) is None


# -- selection


def selected(**columns: Any) -> tuple[Selection, ...]:
    """40 runs of ten tests of 1 s: the candidate puts the failure first or, in the last four, fourth."""
    ranks = {"candidate": [1] * 36 + [4] * 4, "champion": [2] * 40, "decay": [6] * 40, "luck": [9] * 40}
    found = ranking(ranks, baselines=("decay", "luck"))
    return selections(replace(found, rows=found.rows.assign(**columns)), thresholds().statistical)


def test_points_of_candidate_champion_and_best_baseline_stand_with_what_they_save() -> None:
    document = page(STATISTICAL, shown=selected())
    rows = [[text(cell) for cell in row] for row in document.xpath("//section[@id='selection']//table[1]/tbody/tr")]
    assert [row[:2] for row in rows[:4]] == [
        ["90 %", "candidate"],
        ["90 %", "champion"],
        ["90 %", "decay"],
        ["95 %", "candidate"],
    ]
    # ten tests of 1 s: nine of them are 0.15 minutes
    assert [rows[0][2].split(" [")[0], rows[0][3].split(" [")[0], rows[0][4].split(" [")[0]] == [
        "10.0 %",
        "10.0 %",
        "0.15 min",
    ]
    assert rows[1][2:] == ["20.0 % [20.0, 20.0]", "20.0 % [20.0, 20.0]", "0.133 min [0.133, 0.133]"]
    assert "luck" not in text(document.xpath("//section[@id='selection']")[0])


def test_a_recall_that_leaves_no_run_out_is_told_and_has_no_interval() -> None:
    document = page(STATISTICAL, shown=selected())
    section = document.xpath("//section[@id='selection']")[0]
    rows = [[text(cell) for cell in row] for row in section.xpath(".//table[1]/tbody/tr")]
    assert [rows[9][0], rows[9][2]] == ["99.9 % (all)", "40.0 %"]
    assert "so few runs leave none of them out" in text(section)


def test_each_view_has_its_section_and_one_that_cannot_be_told_says_so() -> None:
    section = page(STATISTICAL, shown=selected(failed_before=True)).xpath("//section[@id='selection']")[0]
    told = {text(title): text(title.getnext()) for title in section.xpath(".//h3")}
    assert [title.split(":")[0] for title in told] == [
        "All failures",
        "New failures",
        "Regressions only",
        "First-ever failures",
    ]
    assert list(told.values())[2:] == [
        "Not known: these rows do not tell such failures from others.",
        "No failing run counts: there is nothing to measure.",
    ]


def test_regressions_are_reported_where_labels_tell_them() -> None:
    found = selected(failure_state=FailureState.REGRESSION.value)
    assert found[2].run_count == 40
    assert found[2].points["candidate"] == found[0].points["candidate"]


def test_curves_are_drawn_by_tests_and_by_time_for_each_contestant() -> None:
    section = page(STATISTICAL, shown=selected()).xpath("//section[@id='selection']")[0]
    lines = section.xpath(".//*[local-name()='svg'][1]//*[local-name()='polyline']/@points")
    # two panels, three contestants, faulty runs and failing tests; from the lower left to the upper right
    assert len(lines) == 2 * 3 * 2
    assert lines[0].startswith("40.0,220.0 ")
    assert lines[0].endswith(" 310.0,20.0")


def test_unknown_durations_are_told_as_unknown() -> None:
    section = page(STATISTICAL, shown=selected(duration_s=math.nan)).xpath("//section[@id='selection']")[0]
    row = [text(cell) for cell in section.xpath(".//table[1]/tbody/tr[2]/*")]
    assert row == ["90 %", "champion", "20.0 % [20.0, 20.0]", "unknown", "unknown"]
    assert "share of test time run: unknown" in text(section)


def test_a_model_of_probabilities_selects_nothing() -> None:
    assert selections(replace(EVIDENCE, objective=Objective.PROBABILITY), thresholds().statistical) == ()
    assert page(STATISTICAL).xpath("//section[@id='selection']") == []


def test_no_judged_rows_leave_every_view_empty() -> None:
    found = selections(replace(EVIDENCE, rows=EVIDENCE.rows.iloc[:0]), thresholds().statistical)
    assert [one.run_count for one in found] == [0, 0, None, None]
