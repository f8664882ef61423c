"""Samples: typed, packed as msgpack, and described by schemas."""

from .sample_batches import SampleBatch
from .sample_types import NDArray, PackableSample, packable

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
