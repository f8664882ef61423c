"""Typed WebDataset datasets: samples, shards and where they are indexed and published."""

from typing import TYPE_CHECKING

from .common.lazy_names import lazy_names
from .errors import AtdataError
from .lens import Lens, LensNetwork, lens
from .protocols import AbstractDataStore, AbstractIndex, DataSource, IndexEntry, Packable

if TYPE_CHECKING:
    from .atmosphere import BlobSource
    from .former_names import generate_cid, schema_to_type, verify_cid
    from .local import Index
    from .promote import promote_to_atmosphere
    from .reading import DatasetDict, load_dataset
    from .samples import DictSample, PackableSample, SampleBatch, packable
    from .shards.data_sources import S3Source, URLSource
    from .shards.dataset import Dataset

__all__ = [
    "AbstractDataStore",
    "AbstractIndex",
    "AtdataError",
    "BlobSource",
    "DataSource",
    "Dataset",
    "DatasetDict",
    "DictSample",
    "Index",
    "IndexEntry",
    "Lens",
    "LensNetwork",
    "Packable",
    "PackableSample",
    "S3Source",
    "SampleBatch",
    "URLSource",
    "generate_cid",
    "lens",
    "load_dataset",
    "packable",
    "promote_to_atmosphere",
    "schema_to_type",
    "verify_cid",
]

# NumPy, Redis, S3 and the network are loaded when they are asked for.
__getattr__, __dir__ = lazy_names(
    __name__,
    (*__all__, "atmosphere", "local", "promote", "reading", "samples", "shards", "stores"),
    {
        "BlobSource": "atmosphere",
        "Dataset": "shards.dataset",
        "DatasetDict": "reading",
        "DictSample": "samples",
        "Index": "local",
        "PackableSample": "samples",
        "S3Source": "shards.data_sources",
        "SampleBatch": "samples",
        "URLSource": "shards.data_sources",
        "generate_cid": "former_names",
        "load_dataset": "reading",
        "packable": "samples",
        "promote_to_atmosphere": "promote",
        "schema_to_type": "former_names",
        "verify_cid": "former_names",
    },
)
