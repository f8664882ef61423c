"""One door to read a dataset, wherever it is and however it is named; what is published also comes to a folder."""

from .dataset_dict import DatasetDict
from .loading import load_dataset
from .pull import Pulled, PulledShard, pull

__all__ = ["DatasetDict", "Pulled", "PulledShard", "load_dataset", "pull", "pull_journal"]
