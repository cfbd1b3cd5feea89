"""The executor loads libraries before its workers are forked, and nothing of the product."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fourgate.executor import LIBRARIES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
sys.path.insert(0, "plugins")
from fourgate.executor import load
before = set(sys.modules)
loaded = load()
assert "sklearn.ensemble" in sys.modules and "sklearn.ensemble" not in before, "nothing was loaded"
ours = [name for name in set(sys.modules) - before if name.partition(".")[0] == "ml"]
print(len(loaded), ours)
"""


def test_every_library_is_installed_and_none_of_our_code_is_loaded() -> None:
    assert all(find_spec(name.partition(".")[0]) for name in LIBRARIES)
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{len(LIBRARIES)} []"
