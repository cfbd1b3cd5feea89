"""What tests of GitLab share."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

from ml.sources.gitlab.server import GitLab
from ml.spec import Interval
from tests.ml.sources.server_builders import Collected, day

Open = Callable[..., GitLab]


DAYS = [Interval(day(number), day(number + 1)) for number in (1, 2, 3)]


REPORT = '<testsuite name="S"><testcase classname="C" name="{}"/></testsuite>'


def zipped(**files: str) -> bytes:
    """A zip of files; two underscores stand for a slash, a last one for the dot of the extension."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), text)
    return buffer.getvalue()


def run_row(collected: Collected, run_id: str) -> dict[str, Any]:
    runs = collected.frames["runs"].astype(object)
    row: dict[str, Any] = runs[runs["run_id"] == run_id].iloc[0].to_dict()
    return row
