"""An index, a repo and an account, all fresh, and datasets to promote."""

import io
import itertools
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA
from atdata_core.local import LocalIndex, Repo, S3DataStore
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.copies import recent_looks
from atdata_core.promotion.operations.retract import plan_retraction, retract
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.state.index_state import state_of


@atdata.packable
class Point:
    """A point with a name."""

    at: NDArray[np.float32]
    label: int


@pytest.fixture
def a_while_later(monkeypatch):
    """What was seen was seen a while ago, as between the stages of a run in Dagster, or in a promotion of hours."""
    monkeypatch.setattr(recent_looks, "RECENT", -1.0)


@pytest.fixture
def point_type():
    return Point


@pytest.fixture
def write_tar():
    """Write points as a tar at a path."""

    def write(path, *, start=0, count=5):
        with open(path, "wb") as file, ShardWriter(file) as shard:
            for number in range(start, start + count):
                point = Point(at=np.arange(4, dtype=np.float32) + number, label=number)
                shard.write({**point.as_wds, "__key__": f"{number:06d}"})
        return str(path)

    return write


@pytest.fixture
def index(environ):
    return LocalIndex()


@pytest.fixture
def lab(index, s3, bucket, tmp_path, write_tar):
    """A lab: ``lab.insert(name)`` stores a dataset of three shards of five points and publishes its schema."""
    repo = Repo(s3_credentials=s3, hive_path=f"{bucket}/lab", redis=index.redis)
    numbers = itertools.count()

    def insert(name="points", *, start=0, shards=3, metadata=None, schema=True, sample_type=Point):
        paths = [
            write_tar(tmp_path / f"{next(numbers):03d}.tar", start=start + 5 * number) for number in range(shards)
        ]
        dataset = atdata.Dataset[sample_type](paths)
        entry, _ = repo.insert(dataset, name=name, maxcount=5)
        if metadata is not None:
            index.add_entry(atdata.Dataset[sample_type](entry.data_urls), name=name, metadata=metadata)
            entry = index.get_entry_by_name(name)
        if schema:
            index.publish_schema(sample_type, version="1.0.0")
        return entry

    def type_of(entry):
        return index.decode_schema(entry.schema_ref)

    return SimpleNamespace(insert=insert, type_of=type_of, repo=repo, index=index, bucket=bucket, s3=s3)


class CountingTransport(httpx.HTTPTransport):
    """The real network, with a count."""

    total = 0

    def handle_request(self, request):
        self.total += 1
        return super().handle_request(request)


class Atmosphere:
    """A logged-in client with the questions that tests ask."""

    def __init__(self, pds, handle, password, requests):
        self.requests = requests
        self.client = AtmosphereClient(pds, transport=requests)
        self.client.login(handle, password)

    def records(self, collection):
        found, _ = self.client.list_records(collection)
        return found

    @property
    def counts(self):
        return [len(self.records(collection)) for collection in (SCHEMA, ENTRY, LABEL)]

    @property
    def commit(self):
        return self.client.latest_commit(self.client.did)


@pytest.fixture
def atmosphere(environ, pds, account, closing):
    return Atmosphere(pds.url, account.handle, account.password, closing(CountingTransport()))


@pytest.fixture
def read_all():
    """Bytes of a shard URL through a store."""
    from atdata_core.stores.opening import open_shard

    def read(url, store):
        with open_shard(url, store=store) as stream:
            return io.BytesIO(stream.read()).getvalue()

    return read


@pytest.fixture
def new_bucket(s3):
    """Make a bucket and give its name."""
    from atdata_core.stores.s3.objects import S3Endpoint

    numbers = itertools.count()

    def make():
        name = f"public-{next(numbers)}-{np.random.default_rng().integers(1 << 40)}"
        S3Endpoint.from_credentials(s3).client.create_bucket(Bucket=name)
        return name

    return make


@pytest.fixture
def list_keys(s3):
    """The keys in a bucket."""
    from atdata_core.stores.s3.objects import S3Endpoint

    def keys(bucket):
        answer = S3Endpoint.from_credentials(s3).client.list_objects_v2(Bucket=bucket)
        return [found["Key"] for found in answer.get("Contents", [])]

    return keys


@pytest.fixture
def publish(lab, atmosphere):
    """Promote an entry of the lab; gives its at-uri."""

    def promote(entry, **said):
        return promote_to_atmosphere(entry, lab.index, atmosphere.client, **said)

    return promote


@pytest.fixture
def take_back(lab, atmosphere):
    """Plan and carry out, as the command does."""

    def both(name, *, store=None, **how):
        ledger = state_of(lab.index).ledger
        plan = plan_retraction(name, atmosphere.client, ledger=ledger, store=store, index=lab.index, **how)
        return plan, retract(plan, atmosphere.client, ledger, store, index=lab.index)

    return both


@pytest.fixture
def store(lab, new_bucket):
    """A public store with a bucket of its own."""
    return S3DataStore(lab.s3, bucket=new_bucket(), prefix="open")


@pytest.fixture
def requests_of(atmosphere):
    """The requests that a call sends to the PDS."""

    def count(call):
        before = atmosphere.requests.total
        call()
        return atmosphere.requests.total - before

    return count
