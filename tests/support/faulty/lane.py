"""One account, one dataset and its way to the network, with an edge around the process that promotes it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import redis

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA
from atdata_core.local import LocalIndex, Repo, S3DataStore
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.operations.status import all_statuses
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.state.index_state import state_of
from atdata_core.stores.s3.objects import S3Endpoint
from faulty.edge import Edge, Rule
from faulty.samples import Reading

COLLECTIONS = (SCHEMA, ENTRY, LABEL)
SAMPLES = 5
"""In each shard."""


def edge_around(
    pds: tuple[str, str], source: Mapping[str, str], destination: Mapping[str, str], redis_url: str
) -> Edge:
    """Proxies before a PDS, its PLC directory, two S3 servers and a Redis server."""
    redis_server = urlsplit(redis_url)
    services = {
        "pds": pds[0].replace("localhost", "127.0.0.1"),
        "plc": pds[1].replace("localhost", "127.0.0.1"),
        "source": source["AWS_ENDPOINT"],
        "destination": destination["AWS_ENDPOINT"],
        "redis": f"redis://{redis_server.hostname}:{redis_server.port}",
    }
    return Edge(services)


class Lane:
    """A lab, and an account of its own. Tests look at the services directly, promotions go through ``edge``.

    Args:
        edge: Made by ``edge_around`` for the services that follow.
        pds_url: URL of a PDS.
        source: Credentials of the S3 server where the lab's shards lie.
        destination: Credentials of the one that is published to.
        redis_url: An empty database.
        folder: For temporary files.
        invite: What the PDS asks of whoever makes an account.
    """

    def __init__(
        self,
        edge: Edge,
        pds_url: str,
        source: Mapping[str, str],
        destination: Mapping[str, str],
        redis_url: str,
        folder: Path,
        invite: Mapping[str, str] | None = None,
    ) -> None:
        self.edge = edge
        self.pds_url = pds_url
        self.folder = folder
        self.handle, self.password = f"user-{secrets.token_hex(6)}.test", secrets.token_urlsafe(12)
        made = httpx.post(
            f"{pds_url}/xrpc/com.atproto.server.createAccount",
            json={
                "handle": self.handle,
                "password": self.password,
                "email": f"{self.handle}@example.com",
                **(invite or {}),
            },
            timeout=60,
        )
        self.did = made.raise_for_status().json()["did"]
        self.client = AtmosphereClient(pds_url)
        self.client.login(self.handle, self.password)

        self.source = S3Endpoint.from_credentials(source)
        self.destination = S3Endpoint.from_credentials(destination)
        self.lab_bucket, self.bucket = f"lab-{secrets.token_hex(6)}", f"public-{secrets.token_hex(6)}"
        self.source.client.create_bucket(Bucket=self.lab_bucket)
        self.destination.client.create_bucket(Bucket=self.bucket)
        self.store = {
            "credentials": {**destination, "AWS_ENDPOINT": self.edge.urls["destination"]},
            "bucket": self.bucket,
            "prefix": "open",
        }
        self.credentials = {**source, "AWS_ENDPOINT": self.edge.urls["source"]}
        self.redis = redis.Redis.from_url(redis_url)
        self._database = urlsplit(redis_url).path
        self._redis_password = urlsplit(redis_url).password
        self._kept: dict[bytes, bytes] = {}

    @property
    def environ(self) -> dict[str, str]:
        """The variables of a process that promotes."""
        return {
            "ATDATA_REDIS_URL": self.edge.urls["redis"].replace("//", f"//:{self._redis_password}@")
            + self._database,
            "ATDATA_S3_ENDPOINT": self.credentials["AWS_ENDPOINT"],
            "AWS_ACCESS_KEY_ID": self.credentials["AWS_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": self.credentials["AWS_SECRET_ACCESS_KEY"],
            "ATDATA_PDS_URL": self.edge.urls["pds"],
            "ATDATA_PLC_URL": self.edge.urls["plc"],
            "ATDATA_ALLOW_PRIVATE": self.edge.places,
            "ATDATA_STATE_DIR": str(self.folder / "state"),
        }

    @property
    def account(self) -> dict[str, str]:
        """Handle and password, as jobs take them."""
        return {"handle": self.handle, "password": self.password}

    @property
    def index(self) -> LocalIndex:
        """The lab's index, reached directly."""
        return LocalIndex(self.redis)

    def data_store(self) -> S3DataStore:
        """The store that is published to, through the edge."""
        return S3DataStore(**self.store)

    @cached_property
    def user(self) -> AtmosphereClient:
        """A client that is logged in, and reaches the PDS through the edge."""
        client = AtmosphereClient(self.edge.urls["pds"])
        client.login(self.handle, self.password)
        return client

    @cached_property
    def user_index(self) -> LocalIndex:
        """The lab's index, reached through the edge."""
        parts = urlsplit(self.edge.urls["redis"])
        where = {
            "host": parts.hostname,
            "port": parts.port,
            "db": self._database.strip("/"),
            "password": self._redis_password,
        }
        store = S3DataStore(self.credentials, bucket=self.lab_bucket)
        return LocalIndex(**where, data_store=store)

    def promote(self, entry: Any, *, copy: bool = False, **asked: Any) -> str:
        """Promote in this process, through the edge; the at-uri."""
        store = self.data_store() if copy else None
        return promote_to_atmosphere(entry, self.user_index, self.user, data_store=store, **asked)

    def insert(
        self, name: str = "readings", *, shards: int = 8, start: int = 0, floats: int = 64, more: int = 0
    ) -> Any:
        """Store a dataset in the lab; its entry.

        Each sample has so many float32; those of a shard have so many more than those of the one before, up to the
        fifth.
        """
        path = self.folder / f"{secrets.token_hex(4)}.tar"
        with path.open("wb") as file, ShardWriter(file) as writer:
            for number in range(start, start + SAMPLES * shards):
                sample = Reading(
                    values=np.full(floats + more * (number // SAMPLES % 5), number, np.float32), number=number
                )
                writer.write({**sample.as_wds, "__key__": f"{number:06d}"})
        repo = Repo(s3_credentials=self.credentials, hive_path=f"{self.lab_bucket}/lab", redis=self.redis)
        ref = self.index.publish_schema(Reading)
        dataset = atdata.Dataset[Reading](str(path))
        entry, _ = repo.insert(dataset, name=name, schema_ref=ref, maxcount=SAMPLES)
        path.unlink()
        return entry

    def records(self) -> dict[str, list[Any]]:
        """What the account has published, by collection."""
        return {collection: list(self.client.iter_records(collection)) for collection in COLLECTIONS}

    def counts(self) -> list[int]:
        """Schemas, entries and labels of the account."""
        return [len(found) for found in self.records().values()]

    def states(self) -> dict[str, str]:
        """What ``status`` says of each dataset of the lab."""
        return {
            found.name: found.state for found in all_statuses(self.index, state_of(self.index).ledger, self.did)
        }

    def commit(self) -> str:
        """The account's newest commit."""
        return self.client.latest_commit(self.did)

    def objects(self) -> dict[str, bytes]:
        """What lies in the public bucket, by key."""
        client = self.destination.client
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return {key: client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def shards(self, entry: Any) -> dict[str, bytes]:
        """The lab's shards of an entry, by URL, in order."""
        return {url: self.source_object(url) for url in atdata.Dataset[Reading](entry.data_urls).shard_list}

    def source_object(self, url: str) -> bytes:
        """The bytes of a shard in the lab."""
        return self.source.client.get_object(Bucket=self.lab_bucket, Key=self.key(url))["Body"].read()

    def overwrite(self, url: str, data: bytes) -> None:
        """Put other bytes in the place of a shard of the lab."""
        self.source.client.put_object(Bucket=self.lab_bucket, Key=self.key(url), Body=data)

    def key(self, url: str) -> str:
        """The key of a shard in the lab's bucket."""
        return url.removeprefix(f"s3://{self.lab_bucket}/")

    def keep(self) -> None:
        """Remember what Redis holds, for ``forget``."""
        self._kept = {key: self.redis.dump(key) for key in self.redis.scan_iter()}

    def forget(self) -> None:
        """As it was before the promotion: no records, no copies, and in Redis what ``keep`` found."""
        self.edge.rule = Rule()
        for collection, records in self.records().items():
            for record in records:
                self.client.delete(collection, record.uri.rpartition("/")[2])
        for key in self.objects():
            self.destination.client.delete_object(Bucket=self.bucket, Key=key)
        self.redis.flushdb()
        for key, value in self._kept.items():
            self.redis.restore(key, 0, value)

    def close(self) -> None:
        """Let all pass, and close connections."""
        self.edge.rule = Rule()
        if "user_index" in self.__dict__:
            self.user_index.redis.close()
        self.redis.close()
