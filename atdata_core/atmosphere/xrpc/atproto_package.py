"""The package ``atproto``: who reads needs none of it, nor what it brings."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from atdata_core.errors import RefusedError


@contextmanager
def needed_for(what: str) -> Generator[None]:
    """Around its import.

    Raises:
        RefusedError: It is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise RefusedError(
            f"{what} needs the package atproto, which is not installed. Do: pip install 'atdata-core[publish]'"
        ) from error
