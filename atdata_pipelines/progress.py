"""Saying how far something with many shards is."""

import time
from collections.abc import Callable

EVERY = 2.0
"""Seconds between two words on it."""


def reporting(say: Callable[[str], object], what: str) -> Callable[[int, int], None]:
    """A function that is called with how many are done and how many there are, and says so now and then."""
    said = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= EVERY:
            said = time.monotonic()
            say(f"{done} of {total} {what}")

    return report
