"""What the names of files and tests say: folder, module, kind, package, and the words they are made of.

Works on each distinct name once, before any query; nothing here depends on time or on other names.
"""

import re
from collections.abc import Hashable, Iterable
from functools import lru_cache

import pyarrow as pa

MAX_WORDS = 40
WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_DIGITS = re.compile("[0-9]+")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SEGMENT = re.compile(r"[^A-Za-z0-9_\-]+")
SOURCE_ROOT = re.compile(r"^(?:.*/)?(?:java|kotlin|scala|groovy|python|lib|src)/")
TEST_WORDS = re.compile(
    r"^(?:Tests?(?=[A-Z_])|test_|IT(?=[A-Z][a-z]))|(?:Tests?|TestCase|(?<=[a-z])IT|Spec|_tests?|_spec|\.test|\.spec)$"
)


def _words_of(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


EMPTY_WORDS = _words_of(
    "a an and for in is it of on the to with when then should abstract base impl",
    "test tests testing spec case suite src main lib java kotlin scala python py org com net io",
)
TEST_FOLDERS = _words_of("test tests testing __tests__ spec it smoketest integration-test")
BUILD_NAMES = _words_of(
    "makefile cmakelists.txt dockerfile jenkinsfile build.gradle pom.xml package.json package-lock.json yarn.lock",
    "setup.py setup.cfg requirements.txt cargo.lock go.mod go.sum gemfile kconfig build workspace",
)
BUILD_SUFFIXES = _words_of(
    "gradle cmake mk bazel bzl toml yml yaml ini cfg conf properties xml json lock dockerfile env"
)
DOCS_SUFFIXES = _words_of("md rst txt adoc html css svg png jpg")


def words(name: str) -> frozenset[str]:
    """Meaningful words of a name, in lower case: split at signs and at changes of case; at most `MAX_WORDS`."""
    found = frozenset().union(*map(_words_in, name.replace(".", "/").split("/")))
    return frozenset(sorted(found)[:MAX_WORDS]) if len(found) > MAX_WORDS else found


@lru_cache(65_536)  # folders and packages have many names in them
def _words_in(part: str) -> frozenset[str]:
    found = {word.lower() for word in WORD.findall(part)}
    return frozenset(word for word in found - EMPTY_WORDS if len(word) > 1 and not word.isdigit())


def subject(name: str) -> str:
    """Name of what a test tests, in lower case: ``TestFoo``, ``FooTest``, ``test_foo`` and ``foo`` give ``foo``."""
    return TEST_WORDS.sub("", TEST_WORDS.sub("", name)).strip("_-").lower()


def file_kind(path: str) -> str:
    """``test``, ``docs``, ``build`` (build and configuration) or ``source``."""
    *folders, file = path.split("/")
    stem, _, suffix = file.rpartition(".")
    if TEST_FOLDERS & set(folders) or TEST_WORDS.search(stem or file):
        return "test"
    if file.lower() in BUILD_NAMES or suffix.lower() in BUILD_SUFFIXES:
        return "build"
    if suffix.lower() in DOCS_SUFFIXES or "docs" in folders:
        return "docs"
    return "source"


def stem_of(path: str) -> str:
    """File name without folder and without its last suffix."""
    file = path.rsplit("/", 1)[-1]
    return file.rpartition(".")[0] or file


def package_of(path: str) -> str:
    """Folders below the source root: ``m/src/main/java/org/x/A.java`` gives ``org/x``."""
    folder = path.rpartition("/")[0]
    return SOURCE_ROOT.sub("", folder + "/").strip("/")


def module_of(path: str) -> str:
    """Folder that holds ``src``, else the first folder; empty for a file at the top."""
    folders = path.split("/")[:-1]
    return "/".join(folders[: folders.index("src")]) if "src" in folders else "/".join(folders[:1])


def segments(test_id: str) -> list[str]:
    """Parts of a test's name: ``org.x.TestFoo``, ``tests/test_foo.py::TestFoo::test_a`` and the like."""
    return [part for part in SEGMENT.split(test_id[:1_000]) if part]


def path_parts(paths: Iterable[str]) -> pa.Table:
    """One row per path: path, path_no and the numbers and names the features join on."""
    ordered = sorted(set(paths))
    folders = numbers(path.rpartition("/")[0] for path in ordered)
    suffixes = numbers(path.rpartition(".")[2] if "." in path else "" for path in ordered)
    modules = numbers(module_of(path) for path in ordered)
    columns = {
        "path": pa.array(ordered, pa.string()),
        "path_no": pa.array(range(len(ordered)), pa.int32()),
        "folder_no": pa.array(folders, pa.int32()),
        "suffix_no": pa.array(suffixes, pa.int32()),
        "module_no": pa.array(modules, pa.int32()),
        "kind": pa.array([file_kind(path) for path in ordered], pa.string()),
        "stem": pa.array([stem_of(path).lower() for path in ordered], pa.string()),
        "subject": pa.array([subject(stem_of(path)) for path in ordered], pa.string()),
    }
    return pa.table(columns)


def numbers(values: Iterable[Hashable]) -> list[int]:
    """A number for each value, equal for equal ones, counted in the order of appearance."""
    found: dict[Hashable, int] = {}
    return [found.setdefault(value, len(found)) for value in values]


def word_table(key: str, texts: dict[int, str]) -> pa.Table:
    """Columns `key`, word, words (how many words the name has): one row per word of each text."""
    rows = [
        (number, word, len(found))
        for number, text in texts.items()
        for found in [words(text)]
        for word in sorted(found)
    ]
    return pa.table(
        {
            key: pa.array([row[0] for row in rows], pa.int32()),
            "word": pa.array([row[1] for row in rows], pa.string()),
            "words": pa.array([row[2] for row in rows], pa.int32()),
        }
    )


def prefix_table(key: str, packages: dict[int, str]) -> pa.Table:
    """Columns `key`, prefix, depth, depths: one row per leading part of each package (``a``, ``a/b``, ...)."""
    rows = []
    for number, package in packages.items():
        parts = [part for part in package.split("/") if part]
        rows += [(number, "/".join(parts[: end + 1]), end + 1, len(parts)) for end in range(len(parts))]
    return pa.table(
        {
            key: pa.array([row[0] for row in rows], pa.int32()),
            "prefix": pa.array([row[1] for row in rows], pa.string()),
            "depth": pa.array([row[2] for row in rows], pa.int32()),
            "depths": pa.array([row[3] for row in rows], pa.int32()),
        }
    )


def title_of(parts: list[str]) -> str:
    """The telling end of a test's name: the last segment, with its owner when it is a method or function."""
    if not parts:
        return ""
    return parts[-1] if parts[-1][0].isupper() else " ".join(parts[-2:])


def identifiers(text: str) -> list[str]:
    """Names in a text, in lower case: of several words without a space, as ``KeyManager`` or ``test_io``."""
    found = (name for name in IDENTIFIER.findall(text) if len(WORD.findall(_DIGITS.sub("", name))) > 1)
    return sorted({name.lower() for name in found})


def name_table(tests: dict[int, list[str]]) -> pa.Table:
    """Columns test_no, name, subject: names, in lower case, that the file of a test or of its subject could have."""
    rows = set()
    for number, parts in tests.items():
        for part in parts[-4:]:
            if len(part) > 2 and part.lower() not in EMPTY_WORDS:
                rows.add((number, part.lower(), subject(part)))
    ordered = sorted(rows)
    return pa.table(
        {
            "test_no": pa.array([row[0] for row in ordered], pa.int32()),
            "name": pa.array([row[1] for row in ordered], pa.string()),
            "subject": pa.array([row[2] if len(row[2]) > 2 else None for row in ordered], pa.string()),
        }
    )
