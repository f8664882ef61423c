"""Dagster assets that promote datasets to the AT Protocol network, and what a person starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .components import DatasetPromotion
    from .config.executors import default_executor

__all__ = ["DatasetPromotion", "default_executor"]


def __getattr__(name: str) -> object:
    """Loads Dagster with the first name that needs it: commands that need none start without it."""
    if name == "DatasetPromotion":
        from .components import DatasetPromotion

        return DatasetPromotion
    if name == "default_executor":
        from .config.executors import default_executor

        return default_executor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
