"""What went wrong with a dataset, kept for people until it is published."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import AtdataError, HeldError

if TYPE_CHECKING:
    from .ledger import Facts, Ledger

FAILURE = "failure"


@dataclass(slots=True)
class Attempt:
    """A promotion under way; ``stage`` is where it stands."""

    stage: str


@contextmanager
def attempt(ledger: Ledger, dataset: str, stage: str) -> Generator[Attempt]:
    """Note an error in the ledger (stage, reason, how many times in a row) on its way out.

    A dataset that is held back was not attempted.
    """
    under_way = Attempt(stage)
    try:
        yield under_way
    except Exception as error:
        # Where the ledger itself is what fails, what comes through is the first error.
        with suppress(Exception):
            failed(ledger, dataset, under_way.stage, error)
        raise


def succeeded(ledger: Ledger, dataset: str) -> None:
    """Forget what went wrong before."""
    ledger.remove(f"dataset:{dataset}", FAILURE)


def failed(ledger: Ledger, dataset: str, stage: str, error: Exception) -> None:
    """Note an error; one that says that the dataset is held back is none."""
    if isinstance(error, HeldError):
        return
    ours = isinstance(error, AtdataError)
    failure: Facts = {
        "stage": stage,
        "reason": error.message if ours else f"{type(error).__name__}: {error}",
        "transient": error.transient if ours else isinstance(error, ConnectionError | TimeoutError),
    }

    def change(fact: Facts | None) -> Facts:
        return {**failure, "attempts": (fact or {}).get("attempts", 0) + 1}

    ledger.update(f"dataset:{dataset}", FAILURE, change)
