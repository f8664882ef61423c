"""One partition per dataset name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import dagster as dg

from atdata_core.common.names import check_dataset_name
from atdata_core.errors import DatasetNameError, RefusedError

from .settings import DEFAULT, Settings

if TYPE_CHECKING:
    from atdata_core.local import LocalIndex

CHUNK = 1_000
"""Keys that one call adds: Dagster looks them up in one SQL ``IN (...)``."""

MOST = 100_000
"""Partitions of an asset that Dagster is made for: https://docs.dagster.io/guides/build/partitions-and-backfills."""


class PartitionLimitError(RefusedError):
    """There would be more partitions than Dagster is made for. Facts: ``there``, ``new``, ``most``."""


def why_no_key(name: str) -> str | None:
    """What is wrong with a dataset name as a partition key; None where nothing is."""
    try:
        check_dataset_name(name)
    except DatasetNameError as error:
        return error.message
    return None


def add_keys(instance: dg.DagsterInstance, names: Iterable[str], settings: Settings = DEFAULT) -> None:
    """Add partitions, all of them or none; those that are there stay.

    Raises:
        DatasetNameError: A name cannot be a partition key.
        PartitionLimitError: There would be more than ``MOST``.
    """
    new, beyond = divided(instance, [check_dataset_name(name) for name in names], settings)
    if beyond:
        there, count = count_keys(instance, settings), len(new) + len(beyond)
        raise PartitionLimitError(
            f"{there:,} datasets are partitions and {count:,} more were to be added, but Dagster is made for "
            f"{MOST:,} of an asset. Nothing was added. {way_out(settings)}",
            there=there,
            new=count,
            most=MOST,
        )
    for start in range(0, len(new), CHUNK):
        instance.add_dynamic_partitions(settings.partitions_name, new[start : start + CHUNK])


def divided(
    instance: dg.DagsterInstance, names: Iterable[str], settings: Settings = DEFAULT
) -> tuple[list[str], dict[str, str]]:
    """Of names that are no partitions yet those that there is room for, and why the others cannot be added."""
    # All of them, 0.2 s for the most that there may be: one query for each name is more.
    known = set(instance.get_dynamic_partitions(settings.partitions_name))
    new = [name for name in dict.fromkeys(names) if name not in known]
    room = max(0, MOST - len(known))
    return new[:room], dict.fromkeys(new[room:], f"there are {MOST:,} partitions already; {way_out(settings)}")


def count_keys(instance: dg.DagsterInstance, settings: Settings = DEFAULT) -> int:
    """How many datasets are partitions."""
    return len(instance.get_dynamic_partitions(settings.partitions_name))


def gone_keys(instance: dg.DagsterInstance, index: LocalIndex, settings: Settings = DEFAULT) -> list[str]:
    """The partitions whose dataset the index does not have any more; raises ``ServiceError``."""
    # First the partitions: a dataset that comes meanwhile is in the index, and so is not gone.
    keys = instance.get_dynamic_partitions(settings.partitions_name)
    names = set(index.names())
    return [key for key in keys if key not in names]


def remove_keys(
    instance: dg.DagsterInstance, keys: Iterable[str], done: Callable[[int], None], settings: Settings = DEFAULT
) -> None:
    """Remove partitions; what Dagster keeps of their runs stays. ``done`` is told how many are."""
    # Dagster has no call for several.
    for number, key in enumerate(keys, 1):
        instance.delete_dynamic_partition(settings.partitions_name, key)
        done(number)


def way_out(settings: Settings = DEFAULT) -> str:
    """What a person does who wants room for more."""
    prefix = f" --key-prefix {'/'.join(settings.key_prefix)}" if settings.key_prefix else ""
    return f"`atdata-pipelines prune{prefix}` removes those whose dataset is gone from the index."
