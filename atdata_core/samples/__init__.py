"""Samples: typed, packed as msgpack, and described by schemas."""

from numpy.typing import NDArray

from .sample_batches import SampleBatch
from .sample_types import PackableSample, packable

__all__ = [
    "NDArray",
    "PackableSample",
    "SampleBatch",
    "arrays",
    "compatibility",
    "json_schema",
    "metadata",
    "packable",
    "sample_batches",
    "sample_types",
    "schema",
]
