"""The experiment labels what it learns from as of the border, and judges later failures by the labels of the end."""

import pytest

from experiments.flaky_tests import main, rows_of
from tests.label_builders import at, line

pytestmark = pytest.mark.slow


def test_what_settles_after_the_border_is_neither_learned_nor_told_twice() -> None:
    # twenty runs: the border is r12, known at minute 125; r9 fails and settles after it, r3 before it, r13 is judged
    frames = line("pppfpppppfpppfpppppp", commits="abcdefghijklmnopqrst")
    tables = {name: frame.assign(project="p") for name, frame in frames.items()}
    rows, border = rows_of(tables)
    assert border == at(125)
    assert rows["run_id"].tolist() == ["r3", "r13"]
    assert rows["known_at"].tolist() == [at(85), at(185)]
    assert rows["failed"].tolist() == [True, True]


def test_a_history_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "--history" in capsys.readouterr().err
