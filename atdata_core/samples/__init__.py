"""Samples: typed, packed as msgpack, and described by schemas."""

from typing import TYPE_CHECKING

from ..common.lazy_names import lazy_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .dict_samples import DictSample
    from .sample_batches import SampleBatch
    from .sample_types import PackableSample, packable

__all__ = [
    "DictSample",
    "NDArray",
    "PackableSample",
    "SampleBatch",
    "arrays",
    "compatibility",
    "described_fields",
    "dict_samples",
    "json_schema",
    "metadata",
    "packable",
    "sample_batches",
    "sample_types",
    "schema",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "DictSample": "dict_samples",
        "NDArray": "arrays",
        "PackableSample": "sample_types",
        "SampleBatch": "sample_batches",
        "packable": "sample_types",
    },
)
