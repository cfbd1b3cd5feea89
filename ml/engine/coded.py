"""Tables whose texts are numbers into a list of what they can be: the form in which Parquet files hold them."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def read_coded(paths: Sequence[str], schema: pa.Schema) -> pa.Table:
    """Columns of local Parquet files; null where a file lacks one."""
    table = pa.concat_tables((_read(path, schema) for path in paths), promote_options="default")
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return coded(table.select(schema.names))


def _read(path: str, schema: pa.Schema) -> pa.Table:
    """Each file for itself: a data set of them all takes half as long again."""
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    try:
        file = pq.ParquetFile(path, read_dictionary=texts)
    except KeyError:  # an older file, which lacks one of them
        inside = set(pq.read_schema(path).names)
        file = pq.ParquetFile(path, read_dictionary=[name for name in texts if name in inside])
    return file.read(columns=schema.names, use_threads=False)


def coded(table: pa.Table) -> pa.Table:
    """The same rows, with one dictionary for each column of texts."""
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            table = table.set_column(number, field.name, pc.dictionary_encode(table.column(number)))
    return table.unify_dictionaries()
