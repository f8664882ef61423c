"""Datasets as they lie on the network: records that are written as they are given, and shards behind them."""

import hashlib
import io
from types import SimpleNamespace

import pytest

from atdata_core.atmosphere import AtmosphereClient, SchemaPublisher
from atdata_core.atmosphere.record_format.build import entry_record, label_record
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, identity_tid
from atdata_core.protocols import ShardFacts
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.catalogue import Folder, publish_catalogue

CREATED = "2026-03-01T10:00:00.000Z"


@pytest.fixture
def client(environ, account):
    client = AtmosphereClient()
    client.login(account.handle, account.password)
    return client


@pytest.fixture
def shelf(client, bucket, box, s3):
    """``shelf.shard(samples)`` lays down a shard; ``shelf.record(name, ...)`` is a record that names some.

    ``shelf.publish(records)`` writes records, with a label for each, in few requests; their at-uris.
    """
    objects = S3Endpoint.from_credentials(s3).client

    def shard(samples):
        file = io.BytesIO()
        with ShardWriter(file) as writer:
            for number, sample in enumerate(samples):
                writer.write({**sample.as_wds, "__key__": f"{number:06d}"})
        data = file.getvalue()
        sha256 = hashlib.sha256(data).hexdigest()
        objects.put_object(Bucket=bucket, Key=f"{sha256}.tar", Body=data)
        url = f"{box.public_url}/{bucket}/{sha256}.tar"
        return ShardFacts(url, size=len(data), sha256=sha256, samples=len(samples))

    def record(name, shards, schema_uri, **changes):
        values = {"description": None, "tags": None, "license": None, "metadata": None, "created_at": CREATED}
        own = {key: changes.pop(key) for key in values.keys() & changes.keys()}
        return {**entry_record(name=name, shards=shards, schema_uri=schema_uri, **{**values, **own}), **changes}

    def publish(records, *, labels=True):
        writes, uris = [], []
        for number, each in enumerate(records):
            key = identity_tid(repr(each), str(number))
            uris.append(f"at://{client.did}/{ENTRY}/{key}")
            writes.append(_create(ENTRY, key, each))
            if labels:
                label = label_record(name=each["name"], dataset_uri=uris[-1], version=None, created_at=CREATED)
                writes.append(_create(LABEL, identity_tid("label", key), label))
        for start in range(0, len(writes), 200):
            client.apply(writes[start : start + 200], swap=client.latest_commit(client.did))
        return uris

    def schema(sample_type):
        return str(SchemaPublisher(client).publish(sample_type, version="1.0.0"))

    return SimpleNamespace(shard=shard, record=record, publish=publish, schema=schema, objects=objects)


def _create(collection, key, value):
    return {"$type": "com.atproto.repo.applyWrites#create", "collection": collection, "rkey": key, "value": value}


@pytest.fixture
def site(client, tmp_path):
    """Build the catalogue of the account in ``site.folder``, as anybody can."""

    def build(*, url="https://lab.example.org/data"):
        return publish_catalogue(client.did, AtmosphereClient(), Folder(build.folder), url=url, progress=_quiet)

    build.folder = tmp_path / "site"
    return build


def _quiet(done, total):
    pass
