"""A small simulated world, and what its files hold."""

import hashlib
from pathlib import Path

from ml.sources.simulator import World

SMALL = World(seed=7, run_count=40, module_count=4, tests_per_module=5, author_count=5, outage_every=20)
FAILED = ("failed", "error")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below a folder, by its path there."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
