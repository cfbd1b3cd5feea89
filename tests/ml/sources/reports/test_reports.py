import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.sources.reports import DIALECTS, JSON_DIALECTS, ReportRows, read_report, xml_stream
from tests.fuzz.targets import REASONS

MAX_BYTES = 1_000_000
GOOD = '<testsuite name="S"><testcase name="a"/><testcase name="b"><failure/></testcase></testsuite>'


def reasons(payload: bytes | Path, max_bytes: int = MAX_BYTES) -> list[str]:
    return [refusal.reason for refusal in read_report(payload, max_bytes).refused]


def bomb(name: str) -> bytes:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    doctype = f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>'
    return f'{doctype}<testsuite name="{name}">{name}<testcase name="a"/></testsuite>'.encode()


def test_billion_laughs_are_refused_and_never_expand() -> None:
    tracemalloc.start()
    try:
        rows = read_report(bomb("&l9;"), MAX_BYTES)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [refusal.reason for refusal in rows.refused] == ["forbidden_dtd"]
    assert rows.test_ids == []
    assert peak < 5_000_000


def test_an_external_entity_is_refused_and_its_file_not_read() -> None:
    doctype = b'<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    rows = read_report(doctype + b'<testsuite><testcase name="a">&x;</testcase></testsuite>', MAX_BYTES)
    assert [refusal.reason for refusal in rows.refused] == ["forbidden_dtd"]
    assert "root:" not in repr(rows)


@pytest.mark.parametrize(
    "report",
    [
        "<!DOCTYPE testsuite><testsuite><testcase name='a'/></testsuite>",
        "<!DOCTYPE testsuite SYSTEM 'http://127.0.0.1:9/x.dtd'><testsuite><testcase name='a'/></testsuite>",
        f"<!--{'x' * 200_000}--><!DOCTYPE testsuite><testsuite><testcase name='a'/></testsuite>",
    ],
)
def test_any_document_type_is_refused_wherever_it_stands(report: str) -> None:
    assert reasons(report.encode()) == ["forbidden_dtd"]
    assert reasons(("\ufeff" + report).encode("utf-16-le")) == ["forbidden_dtd"]


def test_escaped_characters_of_attributes_are_read_as_what_they_stand_for() -> None:
    report = (
        b'<testsuite name="R&amp;D"><testcase name="a &lt; b &#38;&#x26; &quot;c&quot; &amp;lt;" time="1"/></testsuite>'
    )
    assert read_report(report, MAX_BYTES).test_ids == ['R&D::a < b && "c" &lt;']


@pytest.mark.parametrize("size", [1, 2, 7])
def test_entities_are_refused_before_they_are_declared_however_the_payload_is_cut(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(xml_stream, "CHUNK", size)
    report = b'<testsuite name="&x;"><testcase name="&x;"/></testsuite>'
    external = b'<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + report
    parameter = b'<!DOCTYPE t [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x.dtd"> %p;]>' + report
    for payload in (bomb("&l9;"), external, parameter):
        rows = read_report(payload, MAX_BYTES)
        assert [refusal.reason for refusal in rows.refused] == ["forbidden_dtd"]
        assert rows.test_ids == []


def test_an_undeclared_entity_is_refused() -> None:
    assert reasons(b'<testsuite name="&x;"><testcase name="a"/></testsuite>') == ["malformed_xml"]
    assert reasons(b'<testsuite name="S"><testcase name="a">&x;</testcase></testsuite>') == ["malformed_xml"]


@pytest.mark.parametrize("payload", [b"", b" \n\t ", b"\xef\xbb\xbf\n"])
def test_an_empty_payload_is_refused(payload: bytes) -> None:
    assert reasons(payload) == ["empty_payload"]


def test_a_payload_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    report = tmp_path / "r.xml"
    report.write_text(GOOD)
    assert reasons(report, len(GOOD)) == []
    rows = read_report(report, len(GOOD) - 1)
    assert [refusal.reason for refusal in rows.refused] == ["payload_too_large"]
    assert rows.test_ids == []


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    assert reasons(tmp_path / "gone.xml") == ["unreadable"]


@pytest.mark.parametrize(
    "cut",
    [
        '<testsuite name="S"><testcase name="a"/><testcase name="b">',
        '<testsuite name="S"><testcase name="a"/><testcase name="b',
        '<testsuite name="S"><testcase name="a"/>',
        '<testsuite name="S"><testcase name="a"/><system-out><![CDATA[half a line',
        '<testsuite name="S"><testcase name="a"/><!-- half a comm',
    ],
)
def test_a_truncated_report_keeps_the_cases_before_the_cut(cut: str) -> None:
    rows = read_report(cut.encode(), MAX_BYTES)
    assert rows.test_ids == ["S::a"]
    assert [refusal.reason for refusal in rows.refused] == ["truncated_xml"]


def test_a_break_in_the_middle_keeps_the_cases_before_it() -> None:
    rows = read_report(b'<testsuite name="S"><testcase name="a"/></testsuites><testcase name="b"/>', MAX_BYTES)
    assert rows.test_ids == ["S::a"]
    assert [refusal.reason for refusal in rows.refused] == ["malformed_xml"]


@pytest.mark.parametrize(
    "payload",
    [
        b'<testsuite name="S"><testcase name="caf\xe9"/></testsuite>',
        b'<?xml version="1.0" encoding="klingon"?><testsuite name="S"><testcase name="a"/></testsuite>',
    ],
)
def test_bytes_that_no_declared_encoding_explains_are_undecodable(payload: bytes) -> None:
    assert reasons(payload) == ["undecodable"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252"])
def test_a_declared_encoding_is_read(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><testsuite name="S"><testcase name="caf\xe9"/></testsuite>'
    assert read_report(text.encode(encoding), MAX_BYTES).test_ids == ["S::caf\xe9"]


@pytest.mark.parametrize("depth", [101, 5_000])
def test_absurd_depth_is_refused_and_the_cases_before_it_are_kept(depth: int) -> None:
    report = '<testsuite name="S"><testcase name="a"/>' + "<testsuite>" * depth + "</testsuite>" * (depth + 1)
    rows = read_report(report.encode(), MAX_BYTES)
    assert rows.test_ids == ["S::a"]
    assert [refusal.reason for refusal in rows.refused] == ["too_deep"]


@pytest.mark.parametrize("report", ["<testsuites/>", '<testsuite name="S" tests="3"><properties/></testsuite>'])
def test_a_report_without_tests_says_so(report: str) -> None:
    assert reasons(report.encode()) == ["no_tests"]


@pytest.mark.parametrize("report", ["<html/>", "<result/>", "<coverage/>", "{}", "[1]", '{"results": {}}'])
def test_another_root_is_an_unknown_dialect(report: str) -> None:
    assert reasons(report.encode()) == ["unknown_dialect"]


def test_a_value_of_a_refusal_is_bounded() -> None:
    name = "x" * 50_000
    (refusal,) = read_report(f'<testsuite><testcase name="a" time="{name}"/></testsuite>'.encode(), MAX_BYTES).refused
    assert refusal.value is not None
    assert refusal.row is not None
    assert len(refusal.value) == 200
    assert len(refusal.row) < 500


def test_captured_output_does_not_stay_in_memory(tmp_path: Path) -> None:
    report = tmp_path / "big.xml"
    noise = "<system-out>" + "log line\n" * 400_000 + "</system-out>"
    report.write_text(f'<testsuite name="S"><testcase name="a">{noise}</testcase>{noise}</testsuite>')
    tracemalloc.start()
    try:
        rows = read_report(report, 100_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows.test_ids == ["S::a"]
    assert peak < 1_000_000


def is_consistent(rows: ReportRows) -> bool:
    same_length = len(rows.test_ids) == len(rows.outcomes) == len(rows.durations)
    return same_length and all(refusal.reason for refusal in rows.refused)


@given(st.binary(max_size=400))
def test_random_bytes_never_raise(payload: bytes) -> None:
    rows = read_report(payload, MAX_BYTES)
    assert is_consistent(rows)
    assert rows.refused


@given(st.integers(0, len(GOOD)), st.binary(max_size=6), st.integers(0, 6))
def test_a_damaged_report_never_raises(at: int, inserted: bytes, removed: int) -> None:
    content = GOOD.encode()
    rows = read_report(content[:at] + inserted + content[at + removed :], MAX_BYTES)
    assert is_consistent(rows)
    assert rows.refused or rows.test_ids


def test_the_documented_dialects_are_those_that_are_read() -> None:
    page = (Path(__file__).parents[4] / "docs" / "history-layout.md").read_text("utf-8")
    section = page.split("### Dialects")[1].split("###")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in section.splitlines() if line.startswith("| ")][
        2:
    ]
    documented = {name: [root.split("`")[1] for root in roots.split(", ") if "`" in root] for name, roots in rows}
    known: dict[str, list[str]] = {name: [] for name in JSON_DIALECTS}
    for dialect in DIALECTS:
        known.setdefault(dialect.name, []).append(dialect.root)
        assert not dialect.within or f"`{dialect.within}`" in page
    assert documented == known


def test_every_reason_for_a_refusal_is_documented() -> None:
    page = (Path(__file__).parents[4] / "docs" / "history-layout.md").read_text("utf-8")
    assert [reason for reason in sorted(REASONS) if f"`{reason}`" not in page] == []
