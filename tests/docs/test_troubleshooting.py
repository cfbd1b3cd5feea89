"""Each entry of docs/troubleshooting.md is provoked for real and must print what the page says."""

import pytest

from tests.docs.errors import CASES
from tests.docs.pages import DOCS, Section, sections
from tests.docs.place import Place, is_told

pytestmark = pytest.mark.integration
ENTRIES: dict[str, Section] = sections((DOCS / "troubleshooting.md").read_text(), level=3)


def test_every_entry_has_a_case_and_every_case_an_entry() -> None:
    assert set(ENTRIES) == {anchor for anchors in CASES for anchor in anchors}
    assert sum(map(len, CASES)) == len(ENTRIES), "an entry has two cases"
    assert len(ENTRIES) >= 20


@pytest.mark.parametrize("anchor", sorted(ENTRIES))
def test_an_entry_says_why_and_what_to_do(anchor: str) -> None:
    assert len(ENTRIES[anchor].blocks) >= 1
    assert "**Why.**" in ENTRIES[anchor].text
    assert "**Do.**" in ENTRIES[anchor].text


@pytest.mark.parametrize("anchors", CASES, ids=lambda anchors: anchors[0])
def test_what_the_page_says_is_printed_is_printed(anchors: tuple[str, ...], place: Place) -> None:
    printed = CASES[anchors](place)
    for anchor in anchors:
        documented = ENTRIES[anchor].blocks[0].text
        assert is_told(documented, printed), f"{printed}\nis not what the page says:\n{documented}"


@pytest.mark.parametrize(
    ("documented", "is_so"),
    [
        ("LakeError: table ... is gone", True),
        ("LakeError: table ... is here", False),
        ("is gone", False),
        ("one two\nLakeError: table /a/b is gone", True),
        ("LakeError: table /a/b is gone\none two", False),
    ],
)
def test_a_documented_line_is_a_whole_printed_line_in_its_place(documented: str, is_so: bool) -> None:
    assert is_told(documented, "one  two\n\nLakeError: table /a/b is gone\n") is is_so
