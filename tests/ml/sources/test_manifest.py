from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.errors import RefusedPayload
from ml.sources.manifest import parse, read_moment, scrub, to_bytes, to_facts, variants_of

MINIMAL = {"run_id": "r1", "project": "p", "commit_sha": "abc", "started_at": "2026-01-01T00:00:00Z"}


def refused(document: dict[str, Any]) -> list[tuple[str, str | None, str | None]]:
    return [(refusal.reason, refusal.column, refusal.value) for refusal in to_facts(document).refused]


def test_a_minimal_manifest_is_a_run_with_attempt_1_and_nulls() -> None:
    facts = to_facts(dict(MINIMAL))
    assert facts.refused == []
    assert facts.run == {
        "project": "p",
        "run_id": "r1",
        "attempt": 1,
        "workflow": None,
        "event": None,
        "branch": None,
        "commit_sha": "abc",
        "change_id": None,
        "change_title": None,
        "author_id": None,
        "started_at": datetime(2026, 1, 1, tzinfo=UTC),
        "finished_at": None,
        "status": None,
        "is_fork": None,
    }


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"text"', b"\xff\xfe\x00", b"[" * 100_000, b'{"a": ' + b"9" * 5_000 + b"}"],
)
def test_what_is_no_json_object_is_a_malformed_manifest(content: bytes) -> None:
    with pytest.raises(RefusedPayload) as raised:
        parse(content)
    assert raised.value.reason == "malformed_manifest"


def test_the_message_about_a_malformed_manifest_quotes_nothing_of_it() -> None:
    with pytest.raises(RefusedPayload) as raised:
        parse(b'{"author": "Ada Lovelace" "x"}')
    assert "Ada" not in str(raised.value)
    assert "line 1" in str(raised.value)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_document_or_a_typed_refusal(content: bytes) -> None:
    try:
        document = parse(content)
    except RefusedPayload as error:
        assert error.reason == "malformed_manifest"  # noqa: PT017 - either way is right
    else:
        assert isinstance(document, dict)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    "run_id",
    "attempt",
    "project",
    "commit_sha",
    "author",
    "started_at",
    "finished_at",
    "changed_files",
    "reports",
]


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES), st.lists(VALUES, max_size=3))
def test_any_json_in_the_fields_gives_rows_or_refusals(document: dict[str, Any], files: list[Any]) -> None:
    for each in (document, {**MINIMAL, **document}, {**MINIMAL, "changed_files": files, "reports": files}):
        scrubbed = parse(to_bytes(scrub(each, "salt")))
        facts = to_facts(scrubbed)
        assert (facts.run is not None) or facts.refused
        variants_of(scrubbed)


@pytest.mark.parametrize("field", ["run_id", "project", "commit_sha", "started_at"])
@pytest.mark.parametrize("missing", [None, "", "absent"])
def test_a_required_field_that_is_missing_is_named(field: str, missing: str | None) -> None:
    document = {name: value for name, value in MINIMAL.items() if name != field}
    if missing != "absent":
        document[field] = missing
    facts = to_facts(document)
    assert facts.run is None
    assert [(one.reason, one.column, one.contract) for one in facts.refused] == [("missing_field", field, "runs")]


def test_every_reason_is_collected() -> None:
    document = {"run_id": ["x"], "project": "p\x00", "commit_sha": "c", "started_at": "soon", "attempt": "two"}
    assert sorted(refused(document)) == [
        ("not_a_timestamp", "started_at", "soon"),
        ("not_an_integer", "attempt", "two"),
        ("not_text", "run_id", "['x']"),
        ("undecodable", "project", "p\x00"),
    ]


def test_half_a_surrogate_pair_is_undecodable() -> None:
    document = parse(b'{"run_id": "r\\ud800"}') | {"project": "p", "commit_sha": "c", "started_at": "2026-01-01T00:00Z"}
    assert refused(document) == [("undecodable", "run_id", "r?")]


def test_a_number_as_run_id_is_taken_as_text() -> None:
    facts = to_facts({**MINIMAL, "run_id": 1234567890123})
    assert facts.run is not None
    assert facts.run["run_id"] == "1234567890123"


@pytest.mark.parametrize(
    "text", ["2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "yesterday", "9999-12-31T23:59:59-05:00"]
)
def test_a_time_without_a_zone_or_sense_is_no_moment(text: str) -> None:
    assert read_moment(text) is None


def test_a_moment_is_told_in_utc() -> None:
    assert read_moment("2026-01-01T01:30:00+02:00") == datetime(2025, 12, 31, 23, 30, tzinfo=UTC)


def test_the_author_becomes_a_keyed_hash_and_unknown_fields_do_not_land() -> None:
    document = {**MINIMAL, "author": "Ada Lovelace", "author_email": "ada@example.org", "author_id": "Ada"}
    scrubbed = scrub(document, "salt")
    assert b"Ada" not in to_bytes(scrubbed)
    assert b"ada@" not in to_bytes(scrubbed)
    # key=$(echo -n p | openssl dgst -sha256 -hmac salt -r | cut -c1-64)
    # echo -n "Ada Lovelace" | openssl dgst -sha256 -mac hmac -macopt hexkey:$key
    assert scrubbed["author_id"] == "471a2a3b26b9"


@pytest.mark.parametrize(("project", "salt"), [("acme/shop", "pepper"), ("acme/depot", "salt")])
def test_another_salt_or_project_is_another_hash(project: str, salt: str) -> None:
    document = {**MINIMAL, "author": "Ada Lovelace"}
    assert scrub({**document, "project": project}, salt)["author_id"] != scrub(document, "salt")["author_id"]


@pytest.mark.parametrize("author", [None, ""])
def test_no_author_is_no_hash(author: str | None) -> None:
    assert "author_id" not in scrub({**MINIMAL, "author": author}, "salt")


def test_changed_files_are_rows_and_bad_ones_are_refused_one_by_one() -> None:
    files = [
        {"path": "a.py", "added": 3, "deleted": 0, "change_source": "git"},
        {"path": "b.py"},
        {"path": "", "added": 1},
        {"path": "c.py", "added": "many"},
        {"path": "d.py", "added": 1.5},
        {"path": "e.py", "deleted": -4},
        "f.py",
        {"path": 7},
    ]
    facts = to_facts({**MINIMAL, "changed_files": files})
    assert facts.run is not None
    assert facts.changed_files == [
        {"path": "a.py", "added": 3, "deleted": 0, "change_source": "git"},
        {"path": "b.py", "added": None, "deleted": None, "change_source": None},
        {"path": "e.py", "added": None, "deleted": -4, "change_source": None},
    ]
    assert [(one.reason, one.column, one.value) for one in facts.refused] == [
        ("missing_field", "path", None),
        ("not_an_integer", "added", "many"),
        ("not_an_integer", "added", "1.5"),
        ("wrong_type", None, "f.py"),
        ("not_text", "path", "7"),
    ]
    assert {one.contract for one in facts.refused} == {"changed_files"}


def test_listed_reports_give_variants() -> None:
    reports = [{"path": "a.xml", "variant": "linux"}, {"path": "b.xml"}, {"variant": "x"}, "c.xml"]
    assert variants_of({"reports": reports}) == {"a.xml": "linux", "b.xml": "default"}


def test_of_a_commit_message_only_the_subject_lands() -> None:
    scrubbed = scrub({**MINIMAL, "change_title": "Fix the cart\n\nSigned-off-by: Ada <ada@example.org>"}, "salt")
    assert scrubbed["change_title"] == "Fix the cart"
    assert to_facts(scrubbed).run is not None
    assert refused({**MINIMAL, "change_title": ["Fix"]}) == [("not_text", "change_title", "['Fix']")]
