"""The executor loads libraries before its workers are forked, and nothing of the product."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
sys.path.insert(0, "plugins")
from fourgate.executor import LIBRARIES, load
before = set(sys.modules)
load()
assert "sklearn.ensemble" in sys.modules and "sklearn.ensemble" not in before, "nothing was loaded"
print([name for name in LIBRARIES if name not in sys.modules])
print([name for name in set(sys.modules) - before if name.partition(".")[0] == "ml"])
"""


def test_every_library_is_loaded_and_none_of_our_code_is() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["[]", "[]"]
