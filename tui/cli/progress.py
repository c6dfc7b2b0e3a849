"""Long work followed from outside: a bar with rate and time left, or a line a stage.

The engine tells how far a job is in its state; here the job of one command is picked out of the
stream. Everything goes to standard error, so that standard output stays what was asked for.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, TypeVar

from core.api import EngineApi, EngineLostError, JobView, StatePatch
from tui.cli import output

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


async def followed(api: EngineApi, work: Callable[[], Awaitable[T]], job: str) -> T:
    """Do the work and show the job of that id, or of that kind, while it lasts."""
    state = await api.state()
    shown = _bar() if sys.stderr.isatty() else nullcontext()
    with shown as bar:
        watching = asyncio.create_task(_watch(api, state.version, state.seq, job, bar))
        try:
            return await work()
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError, EngineLostError):  # the work says what is wrong
                await watching


async def _watch(api: EngineApi, version: int, seq: int, wanted: str, bar: Progress | None) -> None:
    show = _on(bar) if bar is not None else _in_lines()
    async for update in api.updates(version, seq):
        if isinstance(update, StatePatch):
            backups = update.backups.jobs if update.backups is not None else ()
            for job in (*(update.jobs or ()), *backups):
                if wanted in {job.id, job.kind} and not job.ended_ms:
                    show(job)


def _in_lines() -> Callable[[JobView], None]:
    told: set[str] = set()

    def show(job: JobView) -> None:
        if job.stage not in told:
            told.add(job.stage)
            output.warn(f"{job.stage} {job.total:,} {job.unit}" if job.total else job.stage)

    return show


def _bar() -> AbstractContextManager[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False, markup=False),
        transient=True,
    )


def _on(bar: Progress) -> Callable[[JobView], None]:
    task = bar.add_task("", total=None, rate="")
    stage = ""

    def show(job: JobView) -> None:
        nonlocal stage
        if job.stage != stage:  # another thing is counted: its rate begins anew
            stage = job.stage
            bar.reset(task)
        speed = bar.tasks[0].speed if job.unit else None
        bar.update(
            task,
            description=job.stage,
            completed=job.done,
            total=job.total or None,
            rate=f"{speed:,.0f} {job.unit}/s" if speed else "",
        )

    return show
