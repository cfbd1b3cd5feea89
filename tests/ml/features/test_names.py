import pytest

from ml.features import names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("TestOMKeyDeleteResponse", {"om", "key", "delete", "response"}),
        ("hadoop-hdds/server-scm/src/main/java/X.java", {"hadoop", "hdds", "server", "scm"}),
        ("test_read_file2", {"read", "file"}),
        ("", set()),
    ],
)
def test_words_are_split_at_signs_and_case_without_empty_words(name: str, expected: set[str]) -> None:
    assert names.words(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("TestFoo", "foo"),
        ("FooTest", "foo"),
        ("FooTests", "foo"),
        ("test_foo", "foo"),
        ("foo_test", "foo"),
        ("foo.spec", "foo"),
        ("FooIT", "foo"),
        ("Foo", "foo"),
        ("COMMIT", "commit"),
        ("Testament", "testament"),
    ],
)
def test_the_subject_is_the_name_without_the_words_for_test(name: str, expected: str) -> None:
    assert names.subject(name) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/src/main/java/org/x/Foo.java", "source"),
        ("a/src/test/java/org/x/Helper.java", "test"),
        ("pkg/foo_test.go", "test"),
        ("pom.xml", "build"),
        (".github/workflows/ci.yml", "build"),
        ("Makefile", "build"),
        ("docs/guide.md", "docs"),
        ("LICENSE", "source"),
    ],
)
def test_the_kind_of_a_file_follows_its_folders_and_name(path: str, expected: str) -> None:
    assert names.file_kind(path) == expected


def test_package_and_module_come_from_the_source_root() -> None:
    path = "hadoop-hdds/common/src/main/java/org/apache/Foo.java"
    assert names.package_of(path) == "org/apache"
    assert names.module_of(path) == "hadoop-hdds/common"
    assert (names.package_of("tests/unit/test_a.py"), names.module_of("tests/unit/test_a.py")) == (
        "tests/unit",
        "tests",
    )
    assert (names.package_of("pom.xml"), names.module_of("pom.xml")) == ("", "")


def test_the_title_of_a_method_has_its_class() -> None:
    assert names.title_of(names.segments("org.x.TestFoo")) == "TestFoo"
    assert names.title_of(names.segments("tests/test_io.py::TestIo::test_read")) == "TestIo test_read"
    assert names.title_of(names.segments("::")) == ""


def test_hostile_names_give_bounded_rows() -> None:
    long = "<script>" + "aB" * 50_000 + "\n'; DROP TABLE runs; --"
    assert len(names.segments(long)) <= 500
    assert (
        names.word_table(
            "test_no", {0: " ".join(f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(600))}
        ).num_rows
        == 40
    )
