"""Materialisation events of stages that an op has done, as Dagster makes them itself where an asset does."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import dagster as dg

from ..config.settings import Settings, Tag
from ..display.materialisation_metadata import safe
from .upstream import partitions_read

NOT_PROMOTED = "not_promoted"
"""Metadata of what is observed of a partition whose stage failed: the reason."""

_NO_VERSION, _NO_EVENT = "INITIAL", "NULL"
"""What Dagster notes of an input that has no data version, and that no event tells of."""

_TOO_MANY = 100
"""Partitions of an input from which on Dagster notes the version of the last event, not those of all."""


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
        assets: Of the stages.
        settings: Of the pipeline.
    """

    def __init__(
        self,
        context: dg.OpExecutionContext,
        assets: Sequence[dg.AssetsDefinition],
        settings: Settings,
    ) -> None:
        self._context = context
        self._assets = {settings.asset_name(asset.key): asset for asset in assets}
        self._given: dict[tuple[dg.AssetKey, str], _Given] = {}
        self._upstream: dict[dg.AssetKey, Collection[str]] = {}
        self._settings = settings
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
            Tag.DATA_VERSION: cid,
            Tag.DATA_VERSION_IS_GIVEN: "true",
            Tag.CODE_VERSION: str(asset.code_versions_by_key[asset.key]),
        }
        for before in asset.asset_deps[asset.key]:
            if (before, dataset) in self._given:
                given = self._given.pop((before, dataset))
                version, event = _of_partitions(given.cid), self._event(given)
            else:
                version, event = self._of_upstream(before, dataset)
            name = before.to_user_string()
            tags[f"{Tag.INPUT_DATA_VERSION}/{name}"] = version
            tags[f"{Tag.INPUT_EVENT}/{name}"] = str(event or _NO_EVENT)
        self._context.log_event(
            dg.AssetMaterialization(asset_key=asset.key, partition=dataset, metadata=safe(shown), tags=tags)
        )
        self._marks += 1
        if any(asset.key in other.asset_deps[other.key] for other in self._assets.values()):
            self._given[asset.key, dataset] = _Given(cid, self._marks)

    def mark_failed(self, dataset: str, stage: str, reason: str) -> None:
        """Say that a stage of a dataset failed, and why, where a person looks who misses its materialisation.

        Dagster lets nobody but its own steps say that a partition failed.
        """
        key = self._assets[stage].key
        self._context.log_event(dg.AssetObservation(key, partition=dataset, metadata=safe({NOT_PROMOTED: reason})))

    def _of_upstream(self, key: dg.AssetKey, dataset: str) -> tuple[str, int | None]:
        """Data version and event of what a team's own asset gave, however that is partitioned."""
        instance = self._context.instance
        has_own = dataset in self._partitions_of(key)
        of_it = dg.AssetRecordsFilter(key, asset_partitions=[dataset] if has_own else None)
        found = instance.fetch_materializations(of_it, limit=1).records
        record = next(iter(found or instance.fetch_observations(of_it, limit=1).records), None)
        if record is None:
            return _NO_VERSION, None
        event = record.asset_materialization or record.event_log_entry.asset_observation
        version = (event.tags if event else {}).get(Tag.DATA_VERSION, _NO_VERSION)
        read = None if key != self._settings.upstream else partitions_read(self._settings, dataset, instance)
        if read is not None:
            if len(read) < _TOO_MANY:
                tagged = instance.event_log_storage.get_latest_tags_by_partition(
                    key, dg.DagsterEventType.ASSET_MATERIALIZATION, [Tag.DATA_VERSION], asset_partitions=read
                )
                version = _of_partitions(*(tags[Tag.DATA_VERSION] for _, tags in sorted(tagged.items())))
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
