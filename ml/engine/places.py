"""Where the files of a Delta table lie, for engines that want paths."""

import re
from urllib.parse import unquote

PARTITIONS = ("project", "day")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


def local_path(uri: str) -> tuple[str, str]:
    """Folder of the table and the rest of a local file's path; an object store's address is all rest.

    Delta encodes the folder of the table in the address, but partition folders carry encoded names on disk too: only
    what comes before them is decoded.
    """
    scheme = SCHEME.match(uri)
    if scheme and scheme[0] != "file://":
        return "", uri
    local = uri.removeprefix("file://")
    cut = min((at for key in PARTITIONS if (at := local.rfind(f"/{key}=")) >= 0), default=local.rfind("/"))
    return unquote(local[:cut]), local[cut:]
