"""`make sbom` lists every locked dependency, and nothing that is not locked."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_locked_dependency_is_listed_with_version_and_hash() -> None:
    subprocess.run(["make", "--silent", "sbom"], cwd=ROOT, check=True, capture_output=True)
    listed = json.loads((ROOT / "dist" / "fourgate.cdx.json").read_text())
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.5")
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    locked = {(one["name"], one["version"]) for one in packages if "registry" in one["source"]}
    components = {(one["name"], one["version"]): one for one in listed["components"]}
    assert set(components) == locked
    assert len(locked) > 200
    wrong = [name for (name, version), one in components.items() if one["purl"] != f"pkg:pypi/{name}@{version}"]
    assert wrong == []
    hashes = [
        item["content"] for one in components.values() for file in one["externalReferences"] for item in file["hashes"]
    ]
    assert len(hashes) >= len(locked)
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in hashes)
