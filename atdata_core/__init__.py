"""Typed WebDataset datasets: samples, shards and where they are indexed and published."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import AtdataError
from .lens import Lens, LensNetwork, lens
from .protocols import AbstractDataStore, AbstractIndex, DataSource, IndexEntry, Packable
from .samples import DictSample, PackableSample, SampleBatch, packable
from .shards.data_sources import S3Source, URLSource
from .shards.dataset import Dataset

if TYPE_CHECKING:
    from .atmosphere import BlobSource
    from .former_names import generate_cid, schema_to_type, verify_cid
    from .local import Index
    from .promote import promote_to_atmosphere
    from .reading import DatasetDict, load_dataset

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

_ROOMS = ("atmosphere", "local", "promote", "protocols", "reading")
_NAMES = {
    "BlobSource": "atmosphere",
    "DatasetDict": "reading",
    "Index": "local",
    "generate_cid": "former_names",
    "load_dataset": "reading",
    "promote_to_atmosphere": "promote",
    "schema_to_type": "former_names",
    "verify_cid": "former_names",
}


def __getattr__(name: str) -> Any:
    # Redis, S3 and the network are loaded when they are asked for.
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    if name in _NAMES:
        return getattr(import_module(f".{_NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
