"""CI history as Delta tables: the only package that knows Delta.

`store` reads and writes the tables, with the calls to Delta in `delta`; `rows` decides, without I/O, which rows
are new; `removing` says what retention and an opt-out take out.
"""

from ml.lake.rows import CONFLICT, ORPHAN
from ml.lake.store import FIRST_VERSIONS, Appended, Lake

__all__ = ["CONFLICT", "FIRST_VERSIONS", "ORPHAN", "Appended", "Lake"]
