"""Writes `docs/data-contracts.md` from the contracts: ``python -m ml.contracts_doc``. A test compares the two."""

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandera.pandas as pa

from ml import schemas
from ml.schemas import frames, tables

PAGE = Path(__file__).parent.parent / "docs" / "data-contracts.md"
_TYPES = {
    "str": "text",
    "int64": "integer",
    "Int64": "integer",
    "float64": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "datetime64[us, UTC]": "UTC timestamp, µs",
}
_INTRODUCTION = """# Data contracts

Generated from `ml/schemas/` by `python -m ml.contracts_doc`; do not edit.

Rows are judged one by one. Good rows go on; a bad row goes to `rejected_rows` with the reason codes below, joined by
`;` where there are several, with the first column at fault and its value, and with the row itself as JSON, so that it
can be validated again. Names that hold SQL or HTML are legitimate and pass untouched. The batch as a whole is judged
afterwards by the Great Expectations suites in `data/great_expectations/`.
"""


def render() -> str:
    """The page as Markdown: shared rules, a section per contract, the other reasons."""
    shared = _shared_rules()
    parts = [_INTRODUCTION, *_reasons("Rules of many columns", shared)]
    parts += [_section(model, shared) for model in _contracts()]
    parts += _reasons("While a value is read into its column's type", schemas.TYPE_REASONS)
    parts += _reasons("Where the other rows or the clock decide", schemas.BATCH_REASONS)
    return "\n".join(parts)


def _contracts() -> Iterator[type[pa.DataFrameModel]]:
    for module in (tables, frames):
        for name, value in vars(module).items():
            own = inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
            if own and issubclass(value, pa.DataFrameModel):
                yield value


def _shared_rules() -> dict[str, str]:
    """Reason codes that mean the same for several columns: explained once."""
    meanings = [
        (str(check.name), str(check.description))
        for model in _contracts()
        for column in model.to_schema().columns.values()
        for check in column.checks
    ]
    several = Counter(meanings)
    distinct = Counter(code for code, _ in several)
    return {code: meaning for (code, meaning), uses in several.items() if uses > 1 and distinct[code] == 1}


def _section(model: type[pa.DataFrameModel], shared: Mapping[str, str]) -> str:
    schema = model.to_schema()
    tables = {contract: f"`{table}`" for table, contract in schemas.LAKE_TABLES.items()}
    lines = [f"## {tables.get(model, model.__name__)}", "", *inspect.cleandoc(model.__doc__ or "").splitlines(), ""]
    lines += ["| column | type | null | meaning | rules |", "| --- | --- | --- | --- | --- |"]
    for name, column in schema.columns.items():
        kind = _TYPES.get(str(column.dtype), str(column.dtype))
        null = "yes" if column.nullable else "no"
        rules = _rules(column.checks, shared)
        lines.append(f"| `{name}` | {kind} | {null} | {column.description or ''} | {rules} |")
    if schema.checks:
        lines += ["", f"Rows: {_rules(schema.checks, shared)}"]
    return "\n".join([*lines, ""])


def _rules(checks: Iterable[pa.Check], shared: Mapping[str, str]) -> str:
    return ", ".join(
        f"`{check.name}`" if check.name in shared else f"`{check.name}`: {check.description}" for check in checks
    )


def _reasons(title: str, reasons: Mapping[str, str]) -> list[str]:
    lines = [f"| `{code}` | {meaning} |" for code, meaning in reasons.items()]
    return [f"## {title}", "", "| reason code | meaning |", "| --- | --- |", *lines, ""]


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
