"""What was published without Dagster, by the library, a command or another project, shown as materialised."""

from collections.abc import Callable, Sequence

import dagster as dg

from atdata_core.local import LocalDatasetEntry
from atdata_core.promotion.inventory import cid_of
from atdata_core.state.facts import RecordResult

from ..config.settings import RECORD, Settings, Tag
from ..display.materialisation_metadata import record_link, safe

MOST = 100
"""Datasets that one tick reports: the daemon writes each event by itself. The next look at all names finds more."""

_SAID = "published from outside of Dagster, as the ledger knows"


def outside_publications(
    published: Sequence[tuple[LocalDatasetEntry, RecordResult]],
    instance: dg.DagsterInstance,
    settings: Settings,
    service: str,
    promoted_by: Callable[[], Callable[[LocalDatasetEntry], str | None]],
) -> list[dg.AssetMaterialization]:
    """Materialisations of all stages of datasets that are published and that Dagster does not know to be.

    They carry the CID of the entry as their data version, as a run's do: so each entry is reported once, and one
    that a run has published is not.

    Args:
        published: Entries that the ledger knows to be published as they are, and what it knows of that.
        instance: Which materialisations there are.
        settings: Of the pipeline.
        service: URL of the PDS.
        promoted_by: Makes what tells which run promotes an entry, and will mark it.
    """
    names = [entry.name for entry, _ in published]
    if not names:
        return []
    tagged = instance.event_log_storage.get_latest_tags_by_partition(
        settings.key(RECORD), dg.DagsterEventType.ASSET_MATERIALIZATION, [Tag.DATA_VERSION], asset_partitions=names
    )
    unknown = [
        (entry, last)
        for entry, last in published
        if tagged.get(entry.name, {}).get(Tag.DATA_VERSION) != cid_of(entry)
    ]
    if not unknown:
        return []
    by_run = promoted_by()
    unknown = [(entry, last) for entry, last in unknown if by_run(entry) is None][:MOST]
    return [event for entry, last in unknown for event in _stages(entry, last, settings, service)]


def _stages(
    entry: LocalDatasetEntry, last: RecordResult, settings: Settings, service: str
) -> list[dg.AssetMaterialization]:
    """In their order: by their times Dagster tells that none is older than what it was made from."""
    cid = cid_of(entry)
    common = {"reported": _SAID, "entry_cid": cid}
    of_record = {
        **record_link(last.uri, service),
        **({"label": last.label_uri} if last.label_uri else {}),
        **({"record_cid": last.cid} if last.cid else {}),
        "change": last.change,
    }
    return [
        dg.AssetMaterialization(
            key,
            partition=entry.name,
            metadata=safe({**(of_record if key == settings.key(RECORD) else {}), **common}),
            tags={Tag.DATA_VERSION: cid, Tag.DATA_VERSION_IS_GIVEN: "true"},
        )
        for key in settings.keys
    ]
