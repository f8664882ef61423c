"""Typed WebDataset datasets: samples, shards and where they are indexed and published."""

from .errors import AtdataError
from .samples import PackableSample, SampleBatch, packable
from .shards.dataset import Dataset

__all__ = ["AtdataError", "Dataset", "PackableSample", "SampleBatch", "packable"]
