"""What must hold for any bytes: rows that fit together, and refusals of known reasons; never another exception."""

from pathlib import Path
from tempfile import TemporaryDirectory

from ml.errors import RefusedPayload, SourceError
from ml.sources import csv_tables, manifest
from ml.sources.csv_records import MAX_REFUSED
from ml.sources.refusals import MAX_TEXT, MAX_VALUE
from ml.sources.reports import ReportRows, read_report, told_apart
from ml.sources.tables import open_table
from ml.sources.unpacking import unpack
from ml.spec import Outcome

MAX_BYTES = 1_000_000
REASONS = {
    *(
        "empty_payload",
        "payload_too_large",
        "undecodable",
        "forbidden_dtd",
        "too_deep",
        "truncated_xml",
        "malformed_xml",
    ),
    *("truncated_json", "malformed_json", "value_too_large", "unknown_dialect", "no_tests", "missing_name"),
    *("missing_definition", "unknown_outcome", "not_a_number", "unreadable"),
}
LINES = {"wrong_field_count", "malformed_line", "undecodable", "line_too_long", "too_many_refused"}
PACKED = {"archive_too_large", "damaged_archive"}
RESULTS = b"run_id,test_id,outcome\n"


class Broken(Exception):
    """Something that must hold does not."""


def check_report(payload: bytes) -> ReportRows:
    """Read any bytes as a report."""
    rows = read_report(payload, MAX_BYTES)
    named, executions = told_apart(rows)
    lengths = {
        len(rows.test_ids),
        len(rows.outcomes),
        len(rows.durations),
        len(rows.places),
        len(named),
        len(executions),
    }
    require(len(lengths) == 1, f"columns of {lengths} rows")
    require(set(rows.outcomes) <= set(Outcome), f"outcomes {set(rows.outcomes)}")
    require(all(name.strip() and len(name) <= MAX_TEXT for name in rows.test_ids), "a name is blank or too long")
    require({refusal.reason for refusal in rows.refused} <= REASONS, f"refused {rows.refused}")
    require(all(len(refusal.value or "") <= MAX_VALUE for refusal in rows.refused), "a value is too long")
    return rows


def check_manifest(payload: bytes) -> None:
    """Read any bytes as a manifest, and what is landed of it once more."""
    try:
        document = manifest.scrub(manifest.parse(payload), "salt")
    except RefusedPayload:
        return
    landed = manifest.parse(manifest.to_bytes(document))
    facts = manifest.to_facts(landed)
    require((facts.run is None) == bool([r for r in facts.refused if r.contract == "runs"]), "a run is lost in silence")
    manifest.variants_of(landed)
    manifest.started_at_of(landed)
    manifest.project_of(landed)


def check_archive(payload: bytes) -> None:
    """Unpack any bytes: nothing may come to lie outside the folder."""
    with TemporaryDirectory() as scratch:
        file, folder = Path(scratch, "history"), Path(scratch, "unpacked")
        file.write_bytes(payload)
        folder.mkdir()
        try:
            unpack(file, folder, MAX_BYTES)
        except SourceError:
            return
        require({path.name for path in Path(scratch).iterdir()} == {"history", "unpacked"}, "a file lies outside")
        require(not any(path.is_symlink() for path in folder.rglob("*")), "a link was unpacked")


def check_csv(payload: bytes) -> None:
    """Read any bytes as lines of a table, and as one packed by gzip: what is written is a table that can be read."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "plain.csv").write_bytes(RESULTS + payload)
        (folder / "packed.csv.gz").write_bytes(payload)
        for name, reasons in (("plain.csv", LINES), ("packed.csv.gz", LINES | PACKED)):
            try:
                refused = csv_tables.convert({"test_results": csv_tables.CsvFile(folder / name, MAX_BYTES)}, folder)
            except SourceError:
                require(name != "plain.csv", "a file with the right columns is not read")
                continue
            require({refusal.reason for refusal in refused} <= reasons, f"refused {refused}")
            require(len(refused) <= MAX_REFUSED + 1, f"{len(refused)} refusals")
            require(all(len(refusal.value or "") <= MAX_VALUE for refusal in refused), "a value is too long")
            open_table(folder, "test_results").read().validate(full=True)


def require(holds: bool, problem: str) -> None:
    if not holds:
        raise Broken(problem)


TARGETS = (check_report, check_manifest, check_archive, check_csv)
