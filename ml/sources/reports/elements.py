"""A target for dialects in which the place of an element matters: it keeps the path, and text where it is asked to."""

from ml.sources.refusals import MAX_TEXT
from ml.sources.reports.rows import ReportRows
from ml.sources.reports.xml_stream import MAX_DEPTH, Guard, local_name, refuse_deep


class Elements(Guard):
    """Calls `opened` and `closed` with names free of namespaces."""

    max_depth = MAX_DEPTH

    def __init__(self, rows: ReportRows) -> None:
        self._rows = rows
        self._path: list[str] = []
        self._pieces: list[str] | None = None
        self._left = 0

    def start(self, tag: str, attrib: dict[str, str]) -> None:
        """An element begins."""
        self._path.append(local_name(tag))
        refuse_deep(len(self._path), self.max_depth)
        self.opened(self._path[-1], attrib)

    def data(self, text: str) -> None:
        """Text, which lxml hands over in pieces of its own choice."""
        if self._pieces is not None and self._left > 0:
            self._pieces.append(text[: self._left])
            self._left -= len(text)

    def end(self, tag: str) -> None:
        """An element ends."""
        self.closed(self._path[-1])
        self._path.pop()

    def opened(self, name: str, attrib: dict[str, str]) -> None:
        """An element begins; `parent` is the one around it."""

    def closed(self, name: str) -> None:
        """An element ends; `parent` is the one around it."""

    @property
    def parent(self) -> str:
        """Name of the element around the current one, empty for the root."""
        return self._path[-2] if len(self._path) > 1 else ""

    def collect(self) -> None:
        """Keep the text from here on, up to `MAX_TEXT` characters."""
        self._pieces, self._left = [], MAX_TEXT

    def collected(self) -> str:
        """The text since `collect`, stripped; nothing more is kept."""
        text = "".join(self._pieces or ()).strip()
        self._pieces = None
        return text
