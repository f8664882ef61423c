"""Ctrl-C ends a command within a second, also while threads wait for a service that says nothing.

A command is given a moment to end by itself: transfers stop with their next bytes, leases are given back, a run is
noted as failed. Then the process is ended as it is, which no promise minds: a promotion may be killed at any point.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .screen import Screen

MOMENT = 0.6
"""Seconds that a command has to end by itself."""
INTERRUPTED = 130
"""What a shell says of a process that SIGINT ended."""
HANG_UP = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGTERM") if hasattr(signal, name))
"""End a command as Ctrl-C does, where it says so: its terminal is closed, or somebody ends it."""

Note = Callable[[], object]
_notes: list[Note] = []


@contextmanager
def noted(note: Note) -> Iterator[None]:
    """Have something noted, in another thread, if the process is ended within."""
    _notes.append(note)
    try:
        yield
    finally:
        _notes.remove(note)


@contextmanager
def ending_soon(screen: Screen, tell: Note) -> Iterator[None]:
    """End the process soon after Ctrl-C, once ``tell`` has said what was done; it is called once.

    Whoever handles the signal meanwhile (Dagster does, within a run) goes on doing so.
    """
    telling, told = threading.Lock(), threading.Event()

    def tell_once() -> None:
        # Who comes second waits until it is said: the process ends afterwards.
        if telling.acquire(timeout=MOMENT):
            try:
                if not told.is_set():
                    told.set()
                    # The terminal may be gone.
                    with suppress(OSError):
                        tell()
            finally:
                telling.release()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = threading.Event()
    heard, wake = os.pipe()
    os.set_blocking(wake, False)
    before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    watch = threading.Thread(target=_watch, args=(heard, screen, ended, tell_once), name="interrupts", daemon=True)
    watch.start()
    try:
        yield
    except KeyboardInterrupt:
        tell_once()
        raise
    finally:
        signal.set_wakeup_fd(before)
        ended.set()
        os.close(wake)
        # A signal that it has not read yet is read now.
        watch.join()


def leave(code: int = INTERRUPTED) -> None:
    """End the process at once: the interpreter would wait for threads, and take everything down piece by piece."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _watch(heard: int, screen: Screen, ended: threading.Event, tell: Note) -> None:
    while signals := os.read(heard, 64):
        # Handlers run in the main thread; a signal that comes just before that sleeps does not wake it.
        if {signal.SIGINT, *HANG_UP} & set(signals):
            screen.interrupted = True
            if ended.wait(MOMENT):
                break
            for note in _notes:
                with suppress(Exception):
                    note()
            with suppress(Exception):
                tell()
            leave()
    os.close(heard)
