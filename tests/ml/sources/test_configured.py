from pathlib import Path

import pytest

from ml.errors import SettingsError
from ml.sources import configured

SHOP = """
# who we listen to
[source.shop-ci]
kind = "github_actions"
project = "acme/shop"
repository = "acme/shop"
"""
DEPOT = """
[source.depot]
kind = "jenkins"
project = "depot"
url = "https://ci.example.org"
job = "depot/main"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fourgate.toml"


def refusal(file: Path) -> str:
    with pytest.raises(SettingsError) as refused:
        configured.load(file)
    return str(refused.value).replace(str(file), "FILE")


def test_without_a_file_there_is_no_source(file: Path) -> None:
    assert configured.load(file) == {}


def test_each_table_is_a_source_with_the_options_of_its_kind(file: Path) -> None:
    file.write_text(SHOP + DEPOT + "history_days = 30\n")
    shop, depot = configured.load(file).values()
    assert (shop.name, shop.kind, shop.options.project, shop.options.history_days) == (
        "shop-ci",
        "github_actions",
        "acme/shop",
        90,
    )
    assert (depot.name, depot.kind, str(depot.options.url), depot.options.history_days) == (
        "depot",
        "jenkins",
        "https://ci.example.org/",
        30,
    )


OTHER = "[source.other]\nkind='jenkins'\nproject='o'\nurl='http://o'\njob='j'\n"
KINDS = "bucket, git, github_actions, gitlab, jenkins, sql"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = [", " cannot be read: Invalid value (at end of document)"),
        (
            "[sources.a]\n",
            ": 'sources' is not known; right would be tables called [source.NAME] or [project.\"NAME\"]",
        ),
        ("source = 3\n", ": source is no table; right would be tables called [source.NAME]"),
        ("[source.push]\n", ", line 1: 'push' stands for what no server is asked for; choose another name"),
        ("[source.B]\n", ", line 1: 'B' is no name of a source; right would be small letters, digits and hyphens"),
        ("\n[source.a]\nproject = 'p'\n", f", line 2: kind is None; right would be one of {KINDS}"),
        ("[source.a]\nkind = 'svn'\n", f", line 2: kind is 'svn'; right would be one of {KINDS}"),
        (SHOP + "overlap_days = -1\n", ", line 7: overlap_days: Input should be greater than or equal to 0"),
        (SHOP + "projekt = 'x'\n", ", line 7: projekt: Extra inputs are not permitted"),
        (SHOP.replace('project = "acme/shop"\n', ""), ", line 3: project: Field required"),
        (OTHER + SHOP + "silent_days = -2\n", ", line 12: silent_days: Input should be greater than or equal to 0"),
        (
            SHOP + SHOP.replace("shop-ci", "again"),
            ", line 11: shop-ci and again collect 'acme/shop' from github_actions; right would be a project of its own "
            "for each",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_what_would_be_right(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    assert refusal(file) == f"FILE{told}"


def test_a_name_that_nobody_gave_is_told_with_those_there_are(file: Path) -> None:
    file.write_text(SHOP)
    with pytest.raises(SettingsError, match=r"names no source 'shop'; it names shop-ci \(`fourgate source add`"):
        configured.find(file, "shop")


def test_an_added_source_comes_after_what_was_written_by_hand(file: Path) -> None:
    file.write_text(SHOP)
    table = {"kind": "jenkins", "project": 'de"pot', "url": "https://ci.example.org", "job": "a/b", "history_days": 5}
    added = configured.add(file, "depot", table)
    assert (added.name, added.options.project, added.options.history_days) == ("depot", 'de"pot', 5)
    assert file.read_text().startswith(SHOP)
    assert list(configured.load(file)) == ["shop-ci", "depot"]


@pytest.mark.parametrize(
    ("name", "table", "told"),
    [
        ("shop-ci", {"kind": "gitlab"}, "names a source 'shop-ci' already"),
        ("x]\n[source.y", {"kind": "gitlab"}, "is no name of a source"),
        ("lab", {"kind": "gitlab", "project": "p"}, r"fourgate\.toml, line 8: path: Field required"),
    ],
)
def test_a_source_that_is_not_right_leaves_the_file_as_it_was(
    file: Path, name: str, table: dict[str, object], told: str
) -> None:
    file.write_text(SHOP)
    with pytest.raises(SettingsError, match=told):
        configured.add(file, name, table)
    assert file.read_text() == SHOP
    assert list(file.parent.iterdir()) == [file]


def test_the_first_source_makes_the_file(file: Path) -> None:
    configured.add(file, "depot", {"kind": "jenkins", "project": "d", "url": "http://ci", "job": "j"})
    assert list(configured.load(file)) == ["depot"]
