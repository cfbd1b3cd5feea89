import pytest

from ml.sources.titles import MAX_SUBJECT, title_of


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("Cart: round half up (#12)\n\nCo-authored-by: Ada Lovelace <ada@example.org>", "Cart: round half up (#12)"),
        ("\n  Fix   KeyManager\r\nmore", "Fix KeyManager"),
        ("Thanks @ada-l and <ada@example.org>, bob@example.org: fix CartTest", "Thanks and , fix CartTest"),
        ("Signed-off-by: Ada Lovelace", None),
        ("Merge pull request #12 from ada/cart", None),
        ("Merge branch 'ada/cart' into main", None),
        ("Merge 5f1c2ab into 77aa001", None),
        ("Merge sort for the cart", "Merge sort for the cart"),
        ("Use token: 3f9a8b7c6d5e4f3a2b1c", "Use token: " + "*" * 20),  # pragma: allowlist secret
        ("a\u202eb\x07", "a\\u202eb\\u0007"),
        ("x" * 5_000, "x" * MAX_SUBJECT),
        (" \n ", None),
        ("", None),
        (None, None),
    ],
)
def test_a_title_is_the_subject_without_secrets_and_persons(message: str | None, title: str | None) -> None:
    assert title_of(message) == title


def test_the_title_of_a_title_is_the_same() -> None:
    title = title_of("Fix @ada's \x1b token=3f9a8b7c6d5e4f3a2b1c")  # pragma: allowlist secret
    assert title_of(title) == title
