"""Redis, S3 and a PDS on this machine, for a first run and for tests.

>>> from atdata_pipelines.sandbox import Sandbox
>>> with Sandbox(buckets=["datasets-bucket"]) as box:  # doctest: +SKIP
...     print(box.redis_url, box.s3, box.pds_url, box.handle)

Everything listens on 127.0.0.1 alone and stops with the program that started it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atdata_pipelines.sandbox.box import Sandbox, serve
    from atdata_pipelines.sandbox.sandbox_state import SandboxError

__all__ = ["Sandbox", "SandboxError", "serve", "services"]

_WHERE = {"Sandbox": "box", "SandboxError": "sandbox_state", "serve": "box"}


def __getattr__(name: str) -> Any:
    # On demand, so that the PDS, which is a program below this package, starts without the library.
    from importlib import import_module

    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
