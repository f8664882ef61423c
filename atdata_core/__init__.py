"""Typed WebDataset datasets: samples, shards and where they are indexed and published."""

from .dataset import Dataset
from .errors import AtdataError
from .samples import PackableSample, SampleBatch, packable

__all__ = ["AtdataError", "Dataset", "PackableSample", "SampleBatch", "packable"]
