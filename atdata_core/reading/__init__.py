"""One door to read a dataset, wherever it is and however it is named."""

from .dataset_dict import DatasetDict
from .loading import load_dataset

__all__ = ["DatasetDict", "load_dataset"]
