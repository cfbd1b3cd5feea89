"""A stage on many inputs at once, in processes of their own: Python keeps one core busy in each."""

import gc
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from threading import Thread
from typing import TypeVar

Input = TypeVar("Input")
Output = TypeVar("Output")


def each(
    work: Callable[[Input], Output], inputs: Iterable[Input], processes: int, modules: Sequence[str]
) -> Iterator[Output]:
    """What `work` makes of each input, in their order, as soon as it is there.

    Args:
        work: of a module, so that another process finds it.
        inputs: any number; the processes work while the next one is made.
        processes: how many at once; with one, this process does it all.
        modules: what `work` imports: loaded once, and shared by the processes.

    Raises:
        Exception: what `work` raised first; what was not begun then is left.
    """
    if processes < 2:
        yield from map(work, inputs)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    with ProcessPoolExecutor(processes, context, initializer=_begin) as pool:
        try:
            yield from _in_order(pool.submit(work, one) for one in inputs)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _in_order(begun: Iterable[Future[Output]]) -> Iterator[Output]:
    waiting: deque[Future[Output]] = deque()
    for one in begun:
        waiting.append(one)
        while waiting and waiting[0].done():
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _begin() -> None:
    """Make the worker end with its parent, also with one that is killed: it would wait for work without end."""
    gc.freeze()  # what was loaded before the fork stays shared: no collection writes into it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and says what there is to say
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
