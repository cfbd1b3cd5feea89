import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import psutil
import pytest

from ml.stages.side_by_side import each


@pytest.mark.slow
def test_answers_come_in_the_order_of_the_inputs_from_other_processes() -> None:
    assert list(each(math.sqrt, [9.0, 4.0, 1.0], 2, ["math"])) == [3.0, 2.0, 1.0]
    assert os.getpid() not in each(_process_of, [1, 2], 2, [])


def test_with_one_process_this_one_does_it_all() -> None:
    assert list(each(_process_of, [1, 2], 1, [])) == [os.getpid()] * 2


@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_gives_nothing(processes: int) -> None:
    assert list(each(_process_of, [], processes, [])) == []


def test_an_input_is_worked_on_while_the_next_one_is_made(tmp_path: Path) -> None:
    def inputs() -> Iterator[Path]:
        yield tmp_path / "first"
        until = time.monotonic() + 60
        while not (tmp_path / "first").exists() and time.monotonic() < until:
            Event().wait(0.01)
        yield tmp_path / f"second after {[file.name for file in tmp_path.iterdir()]}"

    assert [*each(Path.touch, inputs(), 2, ["pathlib"])] == [None, None]
    assert {file.name for file in tmp_path.iterdir()} == {"first", "second after ['first']"}


def test_an_error_comes_in_its_turn_and_ends_the_rest() -> None:
    answers = each(math.sqrt, [4.0, -1.0, 9.0], 2, [])
    assert next(answers) == 2.0
    with pytest.raises(ValueError, match="domain"):
        next(answers)


@pytest.mark.slow
def test_no_worker_outlives_a_parent_that_is_killed() -> None:
    code = (
        "from time import sleep\nfrom ml.stages.side_by_side import each\n"
        "if __name__ == '__main__':\n    answers = each(sleep, [0, 600, 600], 2, [])\n"
        "    next(answers)\n    print('begun', flush=True)\n    next(answers)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"begun\n"
        begun = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGKILL)
    assert len(begun) >= 3
    _, left = psutil.wait_procs(begun, timeout=30)
    assert left == []


def _process_of(_: int) -> int:
    return os.getpid()
