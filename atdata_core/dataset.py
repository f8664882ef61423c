"""Datasets and what they are made of, by the import path of the package ``atdata``."""

from typing import Any

from .samples import PackableSample, SampleBatch, packable
from .shards.dataset import Dataset

WDSRawSample = dict[str, Any]
"""What ``as_wds`` gives: ``{"__key__": str, "msgpack": bytes}``."""

__all__ = ["Dataset", "PackableSample", "SampleBatch", "WDSRawSample", "packable"]
