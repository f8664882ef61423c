"""One partition per dataset name."""

from collections.abc import Iterable

import dagster as dg

from atdata_core.errors import DatasetNameError
from atdata_core.names import check_dataset_name

CHUNK = 1_000
"""Keys that one call adds: Dagster looks them up in one SQL ``IN (...)``."""

PARTITIONS = "dataset"

datasets = dg.DynamicPartitionsDefinition(name=PARTITIONS)


def why_no_key(name: str) -> str | None:
    """What is wrong with a dataset name as a partition key; None where nothing is."""
    try:
        check_dataset_name(name)
    except DatasetNameError as error:
        return error.message
    return None


def add_keys(instance: dg.DagsterInstance, names: Iterable[str]) -> None:
    """Add partitions; those that are there stay. Raises ``DatasetNameError`` before the first is added."""
    keys = [check_dataset_name(name) for name in names]
    for start in range(0, len(keys), CHUNK):
        instance.add_dynamic_partitions(PARTITIONS, keys[start : start + CHUNK])
