"""Where the files of a Delta table lie, for engines that want paths."""

from urllib.parse import unquote, urlparse

PARTITIONS = ("project", "day")


def local_path(uri: str) -> tuple[str, str]:
    """Folder of the table and the rest of a local file's path; an object store's address is all rest.

    Delta encodes the folder of the table in the address, but partition folders carry encoded names on disk too: only
    what comes before them is decoded.
    """
    parts = urlparse(uri)
    if parts.scheme not in ("", "file"):
        return "", uri
    local = uri.removeprefix("file://")
    cut = min((at for key in PARTITIONS if (at := local.rfind(f"/{key}=")) >= 0), default=local.rfind("/"))
    return unquote(local[:cut]), local[cut:]
