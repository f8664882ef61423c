"""What is measured: figures, and the parts that find them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.frame import Bench


@dataclass(frozen=True)
class Figure:
    """One thing that was measured.

    Attributes:
        what: For people.
        at: Of how many datasets.
        value: In ``unit``.
        unit: Such as ``s`` or ``MB``.
        most: What it is to be at most; None: nobody asks for anything.
    """

    what: str
    at: str
    value: float
    unit: str
    most: float | None = None

    @property
    def reached(self) -> bool:
        """Whether it is what it is to be."""
        return self.most is None or self.value <= self.most


@dataclass(frozen=True)
class Found:
    """What a part measured, or why it could not.

    Attributes:
        part: Its name.
        figures: In the order of the table.
        notes: What else should be known of them.
        seconds: That the part took, with all that it had to prepare.
        error: Why there are no figures.
    """

    part: str
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""


Measured = tuple[list[Figure], list[str]]
"""Figures, and notes on them."""


@dataclass(frozen=True)
class Part:
    """Something that is measured by itself."""

    name: str
    measure: Callable[[Bench], Measured]


def number(value: float) -> str:
    """Three digits that mean something, or all before the point."""
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.3g}"
