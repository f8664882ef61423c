"""The sensor of new datasets, and an index of which everything is published already."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from contextlib import redirect_stderr
from typing import Any, Protocol

import dagster as dg

from atdata_core.atmosphere.record_format.record_keys import Publication
from atdata_core.local import LocalIndex
from atdata_core.state.facts import LAST_RESULT, PublicationId, RecordResult
from atdata_core.state.redis_state import RedisLedger
from atdata_pipelines.components.dataset_promotion import promotion_definitions
from atdata_pipelines.config.resources import AtprotoResource, RedisResource
from atdata_pipelines.config.settings import DEFAULT

_NOTHING = hashlib.sha256(b"").hexdigest()


class Sensor:
    """The sensor, evaluated as the daemon does it; the cursor goes from look to look.

    ``account`` is whose records count; not given: that of the environment.
    """

    def __init__(
        self, index: LocalIndex, instance: dg.DagsterInstance, account: AtprotoResource | None = None
    ) -> None:
        self._resources = {**DEFAULT.resources(), "redis": RedisResource(url=redis_url(index))}
        if account is not None:
            self._resources["atproto"] = account
        self._instance = instance
        self._repository = promotion_definitions().get_repository_def()
        self._sensor = self._repository.get_sensor_def("new_datasets")
        self._cursor: str | None = None

    def tick(self) -> Any:
        """One look."""
        context = dg.build_sensor_context(
            instance_ref=self._instance.get_ref(),
            cursor=self._cursor,
            repository_def=self._repository,
            resources=self._resources,
            sensor_name=self._sensor.name,
        )
        # The sensor says on stderr what waits.
        with context, redirect_stderr(io.StringIO()):
            found = self._sensor.evaluate_tick(context)
        self._cursor = found.cursor
        for request in found.dynamic_partitions_requests or []:
            self._instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return found

    def knows(self, name: str) -> bool:
        """Whether a dataset is a partition."""
        return self._instance.has_dynamic_partition(DEFAULT.partitions_name, name)

    def forget(self, name: str) -> None:
        """Make it no partition."""
        self._instance.delete_dynamic_partition(DEFAULT.partitions_name, name)


class Named(Protocol):
    """An entry, as far as it matters here."""

    @property
    def name(self) -> str:
        """Of the dataset."""
        ...

    @property
    def cid(self) -> str:
        """Of the entry."""
        ...


def note_published(index: LocalIndex, did: str, entries: Iterable[Named]) -> None:
    """What the ledger holds after promotions of entries without metadata."""
    pipe = index.redis.pipeline(transaction=False)
    ledger = RedisLedger(pipe)
    for number, each in enumerate(entries, 1):
        publication = Publication(did, each.name, each.cid)
        result = RecordResult(
            uri=publication.uri,
            cid=None,
            change="created",
            label_uri=None,
            label_cid=None,
            label_change="created",
            note=None,
            version_label_uri=None,
            publication=PublicationId(did, each.name, each.cid),
            metadata_sha256=_NOTHING,
            order=0,
            readers=None,
            destination=None,
            shard={},
        )
        ledger.put(LAST_RESULT(each.name), result)
        if number % _PIPELINE == 0:
            pipe.execute()
    pipe.execute()


_PIPELINE = 5_000


def redis_url(index: LocalIndex) -> str:
    """Where an index is, for programs."""
    where = index.redis.connection_pool.connection_kwargs
    password = where.get("password")
    login = f":{password}@" if password else ""
    return f"redis://{login}{where['host']}:{where['port']}/{where['db']}"
