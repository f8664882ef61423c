"""What a stage works on: the dataset of a run's partition, with the services that it needs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.listings import Record
from atdata_core.common.plurals import number_of
from atdata_core.errors import AtdataError, RecordNotFoundError
from atdata_core.local import LocalDatasetEntry, LocalIndex
from atdata_core.promotion.copies.chunks import Chunk
from atdata_core.promotion.options import PromotionOptions
from atdata_core.promotion.scheduling.retry_policy import attempt, noting_outage
from atdata_core.promotion.stages import copy_stage, inventory_stage, publish
from atdata_core.promotion.stages.resolved_values import Resolved, keeps_urls, resolve
from atdata_core.state.index_state import state_of
from atdata_core.state.ledger import Ledger
from atdata_core.stores.s3.objects import S3Endpoint

from ..config.run_config import options_of
from ..config.settings import Services, Settings
from ..display.markdown import shown
from ..display.materialisation_metadata import safe
from ..display.progress import reporting
from .step_retries import dagster_failures


@dataclass(frozen=True)
class StageContext:
    """The dataset of a partition, where its shards are copied to, and what the run asks of its promotion."""

    entry: LocalDatasetEntry
    index: LocalIndex
    ledger: Ledger
    store: Any
    options: PromotionOptions
    services: Services

    def logged_in(self) -> AtmosphereClient:
        """The client; where the account cannot be used, the ledger knows that for all datasets."""
        with noting_outage(self.ledger, self.services.atproto.did):
            return self.services.atproto.client()

    def resolve(self) -> Resolved:
        """What will be published and where; the PDS is asked as anybody can ask."""
        did, anonymous = self.services.atproto.did(), self.services.atproto.anonymous()

        def find(collection: str, rkey: str) -> Record | None:
            try:
                return anonymous.get_record(f"at://{did}/{collection}/{rkey}")
            except RecordNotFoundError:
                return None

        return resolve(self.entry, did, self.ledger, data_store=self.store, options=self.options, find=find)

    def take_inventory(self, progress: inventory_stage.Progress) -> inventory_stage.Inventory:
        """Look at every shard."""
        did = None
        # Where the account can be told now, what its other machines have checked need not be read again.
        with suppress(AtdataError):
            did = self.services.atproto.did()
        return inventory_stage.take_inventory(
            self.entry, self.index, self.ledger, destination=self.store, progress=progress, did=did
        )

    def known_inventory(self, progress: inventory_stage.Progress) -> inventory_stage.Inventory:
        """The inventory of the stage before, from the ledger; a new one where it has none."""
        found = inventory_stage.recall_inventory(self.entry, self.index, self.ledger)
        return found or self.take_inventory(progress)

    def known_copies(self, resolved: Resolved, progress: inventory_stage.Progress) -> copy_stage.CopiedShards:
        """The copies of the stage before, from the ledger; made anew where it has none."""
        exact = resolved.location.stays is None and (self.store is None or self.store.takes_copies)
        known = copy_stage.recall_copies(
            self.entry, self.index, self.ledger, resolved.location.destination, exact=exact
        )
        return known or self.copy_shards(progress, resolved)

    def copy_chunk(self, chunk: Chunk, say: Callable[[str], None]) -> None:
        """Bring some of the shards to their destination, as they were shared out."""
        found = inventory_stage.recall_inventory(self.entry, self.index, self.ledger)
        if found is None:
            say("the dataset has changed since its shards were shared out: the last step copies what it has now")
            return
        copied = copy_stage.copy_chunk(
            self.entry,
            found,
            self.index,
            self.ledger,
            chunk,
            data_store=self.store,
            progress=reporting(say, "shards at their destination"),
            run=self.options.run,
        )
        say(f"{copied:,} of {number_of(chunk.stop - chunk.start, 'shard')} copied")

    def copy_shards(
        self, progress: inventory_stage.Progress, resolved: Resolved | None = None
    ) -> copy_stage.CopiedShards:
        """Bring every shard to its destination, or see that it stays."""
        found, resolved = self.known_inventory(progress), resolved or self.resolve()
        with publish.dropping_refused(resolved):
            return copy_stage.copy_shards(
                self.entry,
                found,
                self.index,
                self.ledger,
                data_store=self.store,
                published=resolved.published_copies(found),
                progress=progress,
                run=self.options.run,
            )


@contextmanager
def stage_context_of(context: dg.AssetExecutionContext, settings: Settings) -> Iterator[StageContext]:
    """The dataset of this run, which is tagged with it; the ledger is told of an error on its way out.

    Raises:
        Failure: The index has no such dataset, or it is not one that this pipeline takes; or what a stage raises,
            as Dagster should take it.
    """
    name = context.partition_key
    context.instance.add_run_tags(context.run.run_id, {"dataset": name})
    services = settings.services(context)
    with dagster_failures():
        if (refusal := settings.refusal(name)) is not None:
            raise dg.Failure(shown(refusal), allow_retries=False)
        index, reading = services.redis.index(), services.s3.endpoint()
        entry = read_by(index.get_entry_by_name(name), reading)
        ledger = state_of(index).ledger
        with attempt(ledger, name, settings.asset_name(context.asset_key), entry=entry, run=context.run.run_id):
            store, options = services.store(), options_of(context.run, settings)
            if store is not None and keeps_urls(entry, services.atproto.did(), ledger, options):
                store = None
            yield StageContext(entry, index, ledger, store, options, services)


def read_by(entry: LocalDatasetEntry, reading: S3Endpoint | None) -> LocalDatasetEntry:
    """An entry whose shards are read from the service that is configured."""
    if reading == S3Endpoint.from_environment():
        # The core knows the environment itself, and looks without keys where those of it are of no use.
        return entry
    return replace(entry, data_store=reading)


def result_of(cid: str, metadata: Mapping[str, Any]) -> dg.MaterializeResult:
    """What an asset says of a stage: the CID of the entry is its data version."""
    return dg.MaterializeResult(metadata=safe(metadata), data_version=dg.DataVersion(cid))


def progress_of(context: dg.AssetExecutionContext, what: str) -> inventory_stage.Progress:
    """Says in the log how far a stage with many shards is."""
    return reporting(context.log.info, f"shards {what}")
