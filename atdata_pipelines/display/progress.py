"""Saying how far something with many shards, or many datasets, is."""

import time
from collections.abc import Callable

EVERY = 2.0
"""Seconds between two words on it."""


def now_and_then() -> Callable[[], bool]:
    """A function that says whether it is time for another word."""
    said = time.monotonic()

    def is_time() -> bool:
        nonlocal said
        if time.monotonic() - said < EVERY:
            return False
        said = time.monotonic()
        return True

    return is_time


def reporting(say: Callable[[str], object], what: str) -> Callable[[int, int], None]:
    """A function that is called with how many are done and how many there are, and says so now and then."""
    is_time = now_and_then()

    def report(done: int, total: int) -> None:
        if is_time():
            say(f"{done} of {total} {what}")

    return report
