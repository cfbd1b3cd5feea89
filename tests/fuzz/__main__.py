"""`make fuzz`: feed mutated reports, manifests, archives and CSV to the readers for a bounded time.

Guided by coverage where atheris is installed (dependency group `fuzz`), else by chance from a fixed seed. What breaks
ends the run with the input in `.fourgate/fuzz/`.
"""

import argparse
import gzip
import io
import random
import sys
import tarfile
import time
import zipfile
from pathlib import Path

try:
    import atheris
except ImportError:
    atheris = None

FOUND = Path(".fourgate") / "fuzz"
MANIFEST = (
    b'{"run_id": "1", "attempt": 1, "project": "p", "commit_sha": "a", "started_at": "2026-03-01T08:15:00+01:00"}'
)
LINES = b'run_id,test_id,outcome\n1,"a,""b""",passed\n1,"c\nd",failed\n\n2,e,passed\r\n' * 3
INTERESTING = (
    b"<",
    b">",
    b"&#0;",
    b"\x00",
    b"\xff",
    b'"',
    b"]]>",
    b"<!DOCTYPE a>",
    b"9" * 5_000,
    b"[" * 300,
    b"{",
    b"\r\n",
    b",",
)


def seeds() -> list[bytes]:
    """Inputs that are well-formed; the first byte chooses the target."""
    from tests.report_samples import SAMPLES

    reports = [b"\x00" + sample.encode() for sample in SAMPLES.values()]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("r/manifest.json", MANIFEST)
    rolled = io.BytesIO()
    with tarfile.open(fileobj=rolled, mode="w") as archive_of_tar:
        archive_of_tar.addfile(tarfile.TarInfo("r/a.xml"))
    archives = [b"\x02" + packed.getvalue(), b"\x02" + rolled.getvalue()]
    return [*reports, b"\x01" + MANIFEST, *archives, b"\x03" + LINES, b"\x03" + gzip.compress(LINES, mtime=0)]


def one_input(data: bytes) -> None:
    from tests.fuzz.targets import TARGETS

    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


def mutated(chance: random.Random, data: bytes) -> bytes:
    content = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(1, len(content) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            content[at : at + chance.randint(1, 20)] = b""
        elif kind == 1:
            content[at:at] = chance.choice(INTERESTING)
        elif kind == 2:
            content[at:at] = content[at : at + chance.randint(1, 60)]
        else:
            content[at : at + 1] = bytes([chance.randrange(256)])
    return bytes(content)


def by_chance(seconds: float) -> int:
    chance, corpus = random.Random(20260301), seeds()
    ends = time.monotonic() + seconds
    count = 0
    while time.monotonic() < ends:
        data = mutated(chance, chance.choice(corpus))
        count += 1
        try:
            one_input(data)
        except Exception:  # whatever it is, the input that caused it is kept, and it is raised again
            FOUND.mkdir(parents=True, exist_ok=True)
            (FOUND / "broken").write_bytes(data)
            print(f"after {count} inputs: see {FOUND / 'broken'}")
            raise
    print(f"{count} inputs in {seconds:.0f} s, none broke anything")
    return 0


def by_coverage(seconds: float) -> int:
    with atheris.instrument_imports(include=["ml.sources"]):
        import tests.fuzz.targets  # noqa: F401 - instrumented as it is imported
    FOUND.mkdir(parents=True, exist_ok=True)
    corpus = FOUND / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [f"-max_total_time={seconds:.0f}", "-max_len=20000", "-rss_limit_mb=1024", "-timeout=20"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={FOUND}/", str(corpus)], one_input)
    atheris.Fuzz()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long")
    seconds = parser.parse_args().seconds
    return by_chance(seconds) if atheris is None else by_coverage(seconds)


if __name__ == "__main__":
    raise SystemExit(main())
