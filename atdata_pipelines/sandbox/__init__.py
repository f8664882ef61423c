"""Redis, S3 and a PDS on this machine, for a first run and for tests.

>>> from atdata_pipelines.sandbox import Sandbox
>>> with Sandbox(buckets=["datasets-bucket"]) as box:  # doctest: +SKIP
...     print(box.redis_url, box.s3, box.pds_url, box.handle)

Everything listens on 127.0.0.1 alone and stops with the program that started it.
"""

from __future__ import annotations

from atdata_pipelines.sandbox.box import Sandbox
from atdata_pipelines.sandbox.errors import SandboxError
from atdata_pipelines.sandbox.serve import serve

__all__ = ["Sandbox", "SandboxError", "serve"]
