import pytest

from ml.errors import SourceError
from ml.legible import legible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("shop.Test::ünï 試験 🙂", "shop.Test::ünï 試験 🙂"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b]0;title\x07\x1b[2J", "\\u001b]0;title\\u0007\\u001b[2J"),
        ("\x9b31m", "\\u009b31m"),
        ("over\rwritten\x08\x7f", "over\\u000dwritten\\u0008\\u007f"),
        ("user\u202egnp.exe\u2066\u2028", "user\\u202egnp.exe\\u2066\\u2028"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_what_a_terminal_would_act_on_is_shown_as_its_code(text: str, shown: str) -> None:
    assert legible(text) == shown
    assert str(SourceError(text)) == shown
