"""Samples: typed, packed as msgpack, and described by schemas."""

from .sample_batches import SampleBatch
from .sample_types import NDArray, PackableSample, packable

__all__ = ["NDArray", "PackableSample", "SampleBatch", "packable"]
