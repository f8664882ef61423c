"""Materialisation events of stages that an op has done, as Dagster makes them itself where an asset does."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import dagster as dg

from ..config.dagster_internals import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    SKIP_PARTITION_DATA_VERSION_DEPENDENCY_THRESHOLD,
    AssetMaterializationPlannedData,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from ..display.materialisation_metadata import safe
from .upstream import partitions_read

NOT_PROMOTED = "not_promoted"
"""Metadata of what is observed of a partition whose stage failed: the reason."""


class _Given(NamedTuple):
    """What a stage gave to the next one: its data version, and how many marks there were with that."""

    cid: str
    marks: int


class MaterialisationEvents:
    """Materialisations of the assets of stages, said by an op that has done these for many datasets.

    Beside the data version they tell the code version, and what was given by the stage before: from that Dagster
    knows later whether a partition is out of date.

    Args:
        context: Of the op.
        assets: The stages; the last part of an asset's key is the stage's name.
        upstream_partitions: Of the asset before the first stage, where they are known.
    """

    def __init__(
        self,
        context: dg.OpExecutionContext,
        assets: Sequence[dg.AssetsDefinition],
        upstream_partitions: dg.PartitionsDefinition | None = None,
    ) -> None:
        self._context = context
        self._assets = {asset.key.path[-1]: asset for asset in assets}
        self._given: dict[tuple[dg.AssetKey, str], _Given] = {}
        self._upstream: dict[dg.AssetKey, Collection[str]] = {}
        self._upstream_partitions = upstream_partitions
        self._marks = 0
        self._latest, self._latest_of = 0, 0

    def mark(self, dataset: str, stage: str, cid: str, shown: Mapping[str, Any]) -> None:
        """Say that a stage of a dataset is done.

        Args:
            dataset: The partition.
            stage: Whose asset is materialised; those that it depends on were marked before.
            cid: Of the entry, the data version.
            shown: What a person sees of it, as metadata.
        """
        asset = self._assets[stage]
        tags = {
            DATA_VERSION_TAG: cid,
            DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
            CODE_VERSION_TAG: str(asset.code_versions_by_key[asset.key]),
        }
        for before in asset.asset_deps[asset.key]:
            if (before, dataset) in self._given:
                given = self._given.pop((before, dataset))
                version, event = _of_partitions(given.cid), self._event(given)
            else:
                version, event = self._of_upstream(asset, before, dataset)
            tags[get_input_data_version_tag(before)] = version
            tags[get_input_event_pointer_tag(before)] = str(event or NULL_EVENT_POINTER)
        self._context.log_event(
            dg.AssetMaterialization(asset_key=asset.key, partition=dataset, metadata=safe(shown), tags=tags)
        )
        self._marks += 1
        if any(asset.key in other.asset_deps[other.key] for other in self._assets.values()):
            self._given[asset.key, dataset] = _Given(cid, self._marks)

    def mark_failed(self, dataset: str, stage: str, reason: str) -> None:
        """Say that a stage of a dataset failed, and why; its partition is shown as failed once the run has ended.

        Dagster takes that from what a run planned to do and has not done.
        """
        context, key = self._context, self._assets[stage].key
        planned = dg.DagsterEvent.build_asset_materialization_planned_event(
            context.job_name,
            context.get_step_execution_context().step.key,
            AssetMaterializationPlannedData(key, partition=dataset),
        )
        context.instance.report_dagster_event(planned, context.run.run_id)
        # Where a person looks who sees that the partition failed.
        context.log_event(dg.AssetObservation(key, partition=dataset, metadata=safe({NOT_PROMOTED: reason})))

    def _of_upstream(self, asset: dg.AssetsDefinition, key: dg.AssetKey, dataset: str) -> tuple[str, int | None]:
        """Data version and event of what a team's own asset gave, however that is partitioned."""
        instance = self._context.instance
        has_own = dataset in self._partitions_of(key)
        record = instance.get_latest_data_version_record(key, partition_key=dataset if has_own else None)
        if record is None:
            return DEFAULT_DATA_VERSION.value, None
        version = (extract_data_version_from_entry(record.event_log_entry) or DEFAULT_DATA_VERSION).value
        theirs = self._upstream_partitions
        read = None if theirs is None else partitions_read(asset, key, theirs, dataset, instance)
        if read is not None:
            # Of more, Dagster notes the version of the last event.
            if len(read) < SKIP_PARTITION_DATA_VERSION_DEPENDENCY_THRESHOLD:
                found = instance.event_log_storage.get_latest_tags_by_partition(
                    key, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG], asset_partitions=read
                )
                version = _of_partitions(*(tags[DATA_VERSION_TAG] for _, tags in sorted(found.items())))
        elif record.partition_key is not None:
            version = _of_partitions(version) if has_own else _of_partitions()
        return version, record.storage_id

    def _partitions_of(self, key: dg.AssetKey) -> Collection[str]:
        if key not in self._upstream:
            self._upstream[key] = self._context.instance.get_materialized_partitions(key)
        return self._upstream[key]

    def _event(self, given: _Given) -> int:
        """The number of an event that stands after what was given, and before anything that comes.

        An event that is logged is stored at once, but its number is not told: so the latest is asked for, once for
        all marks till now. Dagster, too, notes the latest of the asset, of whatever partition.
        """
        if self._latest_of < given.marks:
            self._latest_of = self._marks
            self._latest = self._context.instance.event_log_storage.get_maximum_record_id() or 0
        return self._latest


def _of_partitions(*versions: str) -> str:
    """Of an input with partitions Dagster notes the digest of the versions of those that were read."""
    return hashlib.sha256("".join(versions).encode()).hexdigest()
