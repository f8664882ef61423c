"""The ``atdata-pipelines`` command."""

from .program import main

__all__ = ["main", "runner"]
