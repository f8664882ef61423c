"""What a store does itself, and what a base class does in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def derived(method: F) -> F:
    """Mark a method of a base class: it stands in until a store has one of its own."""
    method.__dict__["derived"] = True
    return method


def implements(store: object, method: str) -> bool:
    """Whether a store, of whatever class, has a method of its own."""
    found = getattr(store, method, None)
    return callable(found) and not getattr(found, "derived", False)
