"""The error of the sandbox."""

from __future__ import annotations

from atdata_core.errors import AtdataError


class SandboxError(AtdataError, RuntimeError):
    """The sandbox cannot start or be used as asked. Facts: ``service``, ``port``, ``folder`` where known."""
