"""Plays the jobs of a scenario on several processes, with a progress bar on standard error.

Each process keeps the workload it made last, so it gets the jobs of one workload together. Solvers write to standard
output on their own account: what is played has none.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stoker.errors import StokerError
from stoker_cli.console import CommandFailed
from stoker_sim.compare import Job, Player, Result
from stoker_sim.scenario import Scenario

_player: Player | None = None
"""Of a worker process."""


def play(scenario: Scenario, folder: Path, jobs: Sequence[Job], processes: int | None) -> list[Result]:
    """The results of all jobs, in any order. Raises CommandFailed with the sentence of what went wrong."""
    portions = _portions(jobs, processes or len(os.sched_getaffinity(0)))
    processes = min(processes or len(os.sched_getaffinity(0)), len(portions))
    with _bar(len(jobs)) as advance:
        if processes <= 1:
            return _here(Player(scenario, folder), jobs, advance)
        return _spread(scenario, folder, portions, processes, advance)


def _portions(jobs: Sequence[Job], processes: int) -> list[list[Job]]:
    """The jobs of one workload together, unless that would leave a process without work."""
    together = [list(group) for _, group in groupby(jobs, lambda job: (job.setting, job.seed))]
    return together if len(together) >= processes else [[job] for job in jobs]


def _here(player: Player, jobs: Sequence[Job], advance: Callable[[int], None]) -> list[Result]:
    results = []
    for job in jobs:
        try:
            with _no_stdout():
                results.append(player.play(job))
        except StokerError as error:
            raise CommandFailed(str(error)) from None
        advance(1)
    return results


def _spread(
    scenario: Scenario, folder: Path, portions: list[list[Job]], processes: int, advance: Callable[[int], None]
) -> list[Result]:
    results: list[Result] = []
    # Spawned, not forked: this process has threads (the progress bar's).
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin, (scenario, folder)) as pool:
        futures = [pool.submit(_play, portion) for portion in portions]
        try:
            for future in as_completed(futures):
                played = future.result()
                if isinstance(played, str):
                    raise CommandFailed(played)  # noqa: TRY301
                results += played
                advance(len(played))
        except BrokenProcessPool:
            raise CommandFailed(
                "A process that simulated was killed, probably for want of memory; try --processes 1."
            ) from None
        except BaseException:
            # Nobody wants what the workers are at.
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
    return results


def _begin(scenario: Scenario, folder: Path) -> None:
    """In each worker, once."""
    global _player  # noqa: PLW0603  what a worker process is for
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _player = Player(scenario, folder)


def _end_with_parent() -> None:
    """A worker whose parent was killed has nobody to work for."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _play(jobs: list[Job]) -> list[Result] | str:
    """In a worker. A mistake of the user is a sentence: exceptions of our own do not travel between processes."""
    assert _player is not None
    try:
        return [_player.play(job) for job in jobs]
    except StokerError as error:
        return str(error)


@contextmanager
def _no_stdout() -> Iterator[None]:
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """Shows how far it is, where there is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.advance(task, count)
