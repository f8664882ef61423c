"""What a person sees on stderr while a command works; where stderr is no terminal, nothing.

What takes longer than two seconds is shown: how much is done, bytes, rate and time left, in all and of the shards
that are under way. It is gone when the command ends, or a line is to be printed.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from ..display import progress
from ..display.progress import Transfers, duration_of, size_of

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from atdata_core.common.byte_progress import ByteProgress

AFTER = 2.0
"""Seconds that something takes before it is shown."""
SHARDS = 8
"""Shards under way that are shown."""
BAR = 24
_NAME = 28


class Screen:
    """The display of one command.

    Attributes:
        interrupted: Somebody pressed Ctrl-C: transfers end with their next bytes.
    """

    def __init__(self, what: str) -> None:
        self.interrupted = False
        self._what = what
        self._shown: Transfers | None = None
        self._began = time.monotonic()
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._timer: threading.Timer | None = None
        self._held = 0

    def __enter__(self) -> Screen:
        progress.screen = self.begin
        if sys.stderr.isatty():
            self._timer = threading.Timer(AFTER, self._start)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        progress.screen = None
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._stop()
            # Nothing is shown any more, also if the timer had just begun.
            self._held += 1

    def begin(self, what: str) -> Transfers:
        """Show something else: its progress."""
        self._shown = _Interruptible(what, self)
        return self._shown

    def name(self, what: str) -> None:
        """Show that something is done of which no progress is told."""
        self._what, self._shown, self._began = what, None, time.monotonic()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Show nothing: a line is printed, or a question asked."""
        with self._lock:
            self._held += 1
            was_shown = self._live is not None
            self._stop()
        try:
            yield
        finally:
            with self._lock:
                self._held -= 1
                if was_shown:
                    self._start()

    def _start(self) -> None:
        with self._lock:
            if self.interrupted:
                return
            if self._held:
                if self._timer is not None:
                    # A question is being asked.
                    self._timer = threading.Timer(AFTER, self._start)
                    self._timer.daemon = True
                    self._timer.start()
                return
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                get_renderable=self._rows,
                console=Console(stderr=True, markup=False, highlight=False),
                refresh_per_second=4,
                transient=True,
                # Lines are printed beside it, never through it: it would break them.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            # The terminal may be gone.
            with suppress(OSError):
                self._live.stop()
            self._live = None

    def _rows(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        rows = Table.grid(padding=(0, 2))
        shown = self._shown
        if shown is None or (shown.total is None and not shown.bytes):
            rows.add_row(f"{self._what}, {duration_of(time.monotonic() - self._began)}")
            return rows
        expected = shown.expected if shown.bytes else None
        share: dict[str, Any] = {"completed": shown.done, "total": shown.total}
        if expected:
            share = {"completed": shown.bytes, "total": max(expected, shown.bytes)}
        count = "" if shown.total is None else f"{shown.done:,} of {shown.total:,} "
        rows.add_row(f"{count}{shown.counted}", ProgressBar(width=BAR, **share), ", ".join(shown.in_bytes()))
        for shard, passed, size in shown.under_way()[:SHARDS]:
            name = shard.rpartition("/")[2][-_NAME:]
            rows.add_row(
                f"  {name}",
                ProgressBar(width=BAR, completed=passed, total=size),
                f"{size_of(passed)} of {size_of(size)}",
            )
        return rows


class _Interruptible(Transfers):
    """Ends, after Ctrl-C, the threads that tell of bytes: the main one waits for them."""

    def __init__(self, what: str, screen: Screen) -> None:
        super().__init__(what)
        self._screen = screen

    def passed(self, shard: str, count: int, size: int | None, /) -> None:
        if self._screen.interrupted:
            raise KeyboardInterrupt
        super().passed(shard, count, size)


_current: Screen | None = None


@contextmanager
def showing(what: str) -> Iterator[Screen]:
    """Show that a command works, for as long as it does."""
    global _current
    before = _current
    with Screen(what) as screen:
        _current = screen
        try:
            yield screen
        finally:
            _current = before


def progress_of(what: str) -> ByteProgress:
    """Progress that is shown, of what is named."""
    return progress.reporting(lambda _: None, what)


def naming(what: str) -> None:
    """Say what the command does now, where that is shown."""
    if _current is not None:
        _current.name(what)


@contextmanager
def aside() -> Iterator[None]:
    """Nothing is shown while something is printed or asked."""
    if _current is None:
        yield
        return
    with _current.aside():
        yield


def echo(text: str = "", *, err: bool = False) -> None:
    """Print a line beside what is shown."""
    with aside():
        click.echo(text, err=err)
