"""What copying costs in requests and bytes, and what a service's own copies are held to."""

import hashlib
import json
import random
import secrets
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

import atdata_core as atdata
from atdata_core.common import concurrency
from atdata_core.errors import ShardChangedError, ShardConflictError
from atdata_core.local import LocalIndex, Repo, S3DataStore
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.stages import inventory_stage
from atdata_core.promotion.stages.copy_stage import copy_shards
from atdata_core.promotion.stages.inventory_stage import take_inventory
from atdata_core.protocols import ShardFacts
from atdata_core.state.facts import Inventory
from atdata_core.state.index_state import state_of
from atdata_core.stores.s3 import upload
from atdata_core.stores.s3.objects import S3Endpoint
from faulty.edge import Answer, Edge, Rule, Tally

SHARDS = 10


def digests(data):
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
    }


class Place:
    """Some shards in a bucket, and a store that takes copies of them, on the same service or not."""

    def __init__(self, source, target, shards, *, etag=True):
        self.store = S3DataStore(target, bucket=f"copies-{secrets.token_hex(6)}")
        self.endpoint = S3Endpoint.from_credentials(source)
        self.lab = f"lab-{secrets.token_hex(6)}"
        self.data = shards
        for endpoint, bucket in ((self.endpoint, self.lab), (self.store.endpoint, self.store.bucket)):
            endpoint.client.create_bucket(Bucket=bucket)
        facts = []
        for number, data in enumerate(shards):
            answer = self.endpoint.client.put_object(Bucket=self.lab, Key=f"{number}.tar", Body=data)
            facts.append(
                ShardFacts(
                    f"s3://{self.lab}/{number}.tar",
                    len(data),
                    etag=answer["ETag"].strip('"') if etag else None,
                    endpoint=self.endpoint.endpoint_url,
                    **digests(data),
                )
            )
        self.inventory = Inventory("points", "cid", "ref", {}, tuple(facts), ("etag",) * len(facts))
        self.entry = SimpleNamespace(
            name="points",
            schema_ref="ref",
            data_urls=[shard.url for shard in facts],
            metadata=None,
            data_store=S3DataStore(source, bucket=self.lab),
        )

    def copy(self):
        index = LocalIndex()
        return copy_shards(self.entry, self.inventory, index, state_of(index).ledger, data_store=self.store)

    def forget_md5(self):
        unknown = [replace(shard, md5=None) for shard in self.inventory.shards]
        self.inventory = replace(self.inventory, shards=tuple(unknown))

    def copies(self):
        keys = [f"promoted/points/cid/{number}.tar" for number in range(len(self.data))]
        found = [self.store.endpoint.client.get_object(Bucket=self.store.bucket, Key=key) for key in keys]
        return [answer["Body"].read() for answer in found]

    def listed(self):
        answer = self.store.endpoint.client.list_objects_v2(Bucket=self.store.bucket)
        return [found["Key"] for found in answer.get("Contents", [])]


class Served(Tally):
    """Remembers what the service took. (rclone fails at times where many write the first objects of a folder.)"""

    def asked(self, call):
        return None

    def answered(self, call, answer):
        if answer.status < 500:
            self.calls.append(call)


def behind(credentials, url):
    return {**credentials, "AWS_ENDPOINT": url}


@pytest.fixture
def shards():
    draw = random.Random(7)
    return [draw.randbytes(50_000 + number) for number in range(SHARDS)]


@pytest.fixture
def edges(s3):
    """Two ways to the same S3 server: for the library they are two services."""
    with Edge({"lab": s3["AWS_ENDPOINT"], "public": s3["AWS_ENDPOINT"]}) as edge:
        yield edge


@pytest.fixture
def near(environ, s3, edges, shards):
    """Shards and copies on one service."""
    there = behind(s3, edges.urls["public"])
    made = Place(there, there, shards)
    edges.rule = Served()
    return made


@pytest.fixture
def far(environ, s3, edges, shards):
    """Shards on one service and copies on another."""
    made = Place(behind(s3, edges.urls["lab"]), behind(s3, edges.urls["public"]), shards)
    edges.rule = Served()
    return made


def asked(tally, service):
    """Requests by kind; those that ask for what rclone does not have are made until it has said so."""
    calls = [call for call in tally.calls if call.service == service and "attributes" not in call.path]
    kinds = ["COPY" if "x-amz-copy-source" in call.headers else call.method for call in calls]
    return dict(Counter(kinds))


def test_a_service_copies_its_own_shards_after_one_look_for_all(near, edges, shards):
    copies = near.copy()
    assert asked(edges.rule, "public") == {"GET": 1, "COPY": SHARDS}
    assert edges.rule.sent("public") == 0
    assert near.copies() == shards
    assert set(copies.proofs) == {"etag md5"}
    assert (copies.copied, copies.bytes_written) == (SHARDS, near.inventory.size)
    assert [shard.etag for shard in copies.shards] == [digests(data)["md5"] for data in shards]


def test_a_shard_from_another_service_is_read_once_and_sent_once(far, edges, shards):
    copies = far.copy()
    assert asked(edges.rule, "lab") == {"GET": SHARDS}
    assert asked(edges.rule, "public") == {"GET": 1, "PUT": SHARDS}
    assert edges.rule.sent("public") == far.inventory.size
    assert far.copies() == shards
    assert set(copies.proofs) == {"etag md5"}


class Arriving(Served):
    """Counts the shards of one service that are on their way at a time."""

    def __init__(self, service):
        super().__init__()
        self.service, self.now, self.most = service, 0, 0

    def asked(self, call):
        if call.service == self.service:
            self.now += 1
            self.most = max(self.most, self.now)

    def answered(self, call, answer):
        super().answered(call, answer)
        self.now -= call.service == self.service


def test_shards_that_are_sent_on_come_only_as_fast_as_there_is_room_for_them(far, edges, shards, monkeypatch):
    budgets = (concurrency.ByteBudget(1 << 30), concurrency.ByteBudget(1))
    monkeypatch.setattr(concurrency, "_budgets", lambda _: budgets)
    edges.rule = Arriving("lab")
    assert far.copy().copied == SHARDS
    assert edges.rule.most == 1
    assert far.copies() == shards


def test_where_something_lies_each_place_is_looked_at_and_only_what_is_missing_is_written(far, edges, shards):
    key = "promoted/points/cid/3.tar"
    far.store.endpoint.client.put_object(Bucket=far.store.bucket, Key=key, Body=shards[3])
    edges.rule = Served()
    assert far.copy().copied == SHARDS - 1
    assert asked(edges.rule, "public") == {"GET": 1, "HEAD": SHARDS, "PUT": SHARDS - 1}
    assert far.copies() == shards


class NotListed(Served):
    """A service that lists nothing to whoever asks."""

    def asked(self, call):
        if "list-type=2" in call.path:
            return Answer(403, {"content-type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>")
        return None


def test_where_nothing_is_listed_each_place_is_looked_at(near, edges, shards):
    edges.rule = NotListed()
    assert near.copy().copied == SHARDS
    assert asked(edges.rule, "public") == {"HEAD": SHARDS, "COPY": SHARDS}


def test_what_lay_there_before_and_differs_stays_with_one_look_for_all(near, shards):
    key = "promoted/points/cid/3.tar"
    near.store.endpoint.client.put_object(Bucket=near.store.bucket, Key=key, Body=shards[3][::-1])
    with pytest.raises(ShardConflictError, match=key):
        near.copy()
    assert (
        near.store.endpoint.client.get_object(Bucket=near.store.bucket, Key=key)["Body"].read() == shards[3][::-1]
    )


def test_copies_that_are_known_cost_one_look_each(near, edges):
    first = near.copy()
    edges.rule = Served()
    again = near.copy()
    assert (again.copied, again.shards) == (0, first.shards)
    assert asked(edges.rule, "public") == {"HEAD": SHARDS}


def inserted_at(url, lab, s3):
    """The entry of a dataset whose shards lie, for the library, on the service with this address."""
    inserted = lab.insert("warm", shards=SHARDS)
    sample_type = lab.index.decode_schema(inserted.schema_ref)
    dataset = atdata.Dataset[sample_type](inserted.data_urls, data_store=lab.repo.data_store)
    repo = Repo(s3_credentials=behind(s3, url), hive_path=f"{lab.bucket}/lab", redis=lab.index.redis)
    return repo.insert(dataset, name="points", schema_ref=inserted.schema_ref, maxcount=5)[0]


def test_a_promotion_with_copies_looks_twice_at_each_shard_in_all(lab, atmosphere, s3, new_bucket, edges):
    entry = inserted_at(edges.urls["lab"], lab, s3)
    store = S3DataStore(behind(s3, edges.urls["public"]), bucket=new_bucket())
    edges.rule = Served()
    promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    # Before anything is written and before the copies, one look at their folder tells that nothing is there; before
    # the record is written, each is looked at, by a stranger with a GET of a few bytes.
    assert asked(edges.rule, "lab") == {"HEAD": SHARDS, "GET": SHARDS}
    assert asked(edges.rule, "public") == {"HEAD": SHARDS, "GET": SHARDS + 2, "PUT": SHARDS}


@pytest.mark.parametrize("known", [False, True], ids=["read", "known"])
def test_a_promotion_asks_s3_twice_for_each_shard_that_it_copies_on_one_service(
    lab, atmosphere, moto_s3, point_type, write_tar, tmp_path, known
):
    with Edge({"s3": moto_s3["AWS_ENDPOINT"], "open": moto_s3["AWS_ENDPOINT"]}) as edge:
        s3, names = behind(moto_s3, edge.urls["s3"]), [secrets.token_hex(6) for _ in range(2)]
        lab.index.data_store, place = (S3DataStore(s3, bucket=name) for name in names)
        place.public_url = f"{edge.urls['open']}/{place.bucket}"
        client = place.endpoint.client
        for name in names:
            client.create_bucket(Bucket=name)
        anybody = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": f"arn:aws:s3:::{place.bucket}/*",
        }
        client.put_bucket_policy(Bucket=place.bucket, Policy=json.dumps({"Statement": [anybody]}))
        for number in range(SHARDS):
            path = write_tar(tmp_path / f"{number}.tar", start=number)
            client.upload_file(path, names[0], f"{number}.tar")
        lab.index.publish_schema(point_type, version="1.0.0")
        urls = [f"s3://{names[0]}/{number}.tar" for number in range(SHARDS)]
        entry = lab.index.add_entry(atdata.Dataset[point_type](urls), name="points")
        if known:
            take_inventory(entry, lab.index, state_of(lab.index).ledger)
        edge.rule = Served()
        promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=place)
        # For all together: twice what the folder of the copies holds.
        look = {"HEAD": SHARDS, "GET": 2} if known else {"GET": SHARDS + 2}
        assert asked(edge.rule, "s3") == {**look, "COPY": SHARDS}
        # The public address proves each.
        assert asked(edge.rule, "open") == {"GET": SHARDS}


def test_a_copy_that_changed_since_is_found_before_the_record_is_written(lab, atmosphere, s3, new_bucket, edges):
    entry = inserted_at(edges.urls["public"], lab, s3)
    store = S3DataStore(behind(s3, edges.urls["public"]), bucket=new_bucket())
    rival = S3Endpoint.from_credentials(s3).client

    class Changes(Rule):
        def answered(self, call, answer):
            if "x-amz-copy-source" in call.headers:
                key = call.path.removeprefix(f"/{store.bucket}/")
                body = rival.get_object(Bucket=store.bucket, Key=key)["Body"].read()
                rival.put_object(Bucket=store.bucket, Key=key, Body=body[::-1])

    edges.rule = Changes()
    with pytest.raises(ShardChangedError):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert atmosphere.counts == [1, 0, 0]


class Refuses(Served):
    """A service that does not copy."""

    def __init__(self, status):
        super().__init__()
        self.status = status

    def asked(self, call):
        if "x-amz-copy-source" in call.headers:
            return Answer(self.status, {"content-type": "application/xml"}, b"<Error><Code>No</Code></Error>")
        return None


@pytest.mark.parametrize("status", [403, 404, 412, 501])
def test_what_a_service_does_not_copy_is_sent(near, edges, shards, status):
    edges.rule = Refuses(status)
    assert near.copy().copied == SHARDS
    assert near.copies() == shards
    assert edges.rule.sent("public") == near.inventory.size


def test_without_an_etag_of_the_source_its_bytes_are_read(environ, s3, edges, shards):
    there = behind(s3, edges.urls["public"])
    place = Place(there, there, shards, etag=False)
    edges.rule = Served()
    place.copy()
    assert "COPY" not in asked(edges.rule, "public")
    assert place.copies() == shards


def test_a_source_that_changed_is_not_copied_by_a_service_that_copies_whatever_is_there(near, shards):
    near.endpoint.client.put_object(Bucket=near.lab, Key="3.tar", Body=shards[3][::-1])
    with pytest.raises(ShardChangedError, match=r"3\.tar"):
        near.copy()
    assert shards[3][::-1] not in [
        near.store.endpoint.client.get_object(Bucket=near.store.bucket, Key=key)["Body"].read()
        for key in near.listed()
    ]


class Overtaken(Rule):
    """Something else is written where a service has just copied."""

    def __init__(self, write):
        self.write = write

    def answered(self, call, answer):
        if "x-amz-copy-source" in call.headers and call.path.endswith("/3.tar"):
            self.write()


def test_what_a_rival_put_in_the_place_of_a_copy_stays(near, edges, s3, shards):
    near.forget_md5()
    rival = S3Endpoint.from_credentials(s3).client
    key = "promoted/points/cid/3.tar"
    edges.rule = Overtaken(lambda: rival.put_object(Bucket=near.store.bucket, Key=key, Body=shards[3][::-1]))
    with pytest.raises(ShardConflictError, match=key):
        near.copy()
    assert rival.get_object(Bucket=near.store.bucket, Key=key)["Body"].read() == shards[3][::-1]


def test_the_copy_names_the_source_that_was_seen_and_replaces_nothing(near, edges):
    near.copy()
    calls = [call.headers for call in edges.rule.calls if "x-amz-copy-source" in call.headers]
    assert {headers["x-amz-copy-source-if-match"] for headers in calls} == {
        f'"{shard.etag}"' for shard in near.inventory.shards
    }
    assert {headers["if-none-match"] for headers in calls} == {"*"}


def test_a_shard_of_somebodys_own_store_is_read_through_that_store(near, edges, shards):
    class Own:
        read = 0

        def open_shard(self, url):
            self.read += 1
            return store.open_shard(url)

        def read_url(self, url):
            return url

    store, near.entry.data_store = near.entry.data_store, Own()
    near.copy()
    assert near.entry.data_store.read == SHARDS
    assert "COPY" not in asked(edges.rule, "public")


def test_a_server_that_keeps_digests_proves_its_own_copies(environ, moto_s3, shards):
    place = Place(moto_s3, moto_s3, shards)
    place.forget_md5()
    assert set(place.copy().proofs) == {"server sha256"}
    assert place.copies() == shards


@pytest.fixture
def small_calls(monkeypatch):
    """S3 as if one call copied no more than 6 MiB."""
    monkeypatch.setattr(upload, "ONE_CALL", 6 << 20)
    monkeypatch.setattr(upload, "RANGE", 6 << 20)


def test_a_shard_too_large_for_one_call_is_copied_in_ranges(environ, moto_s3, small_calls):
    data = random.Random(7).randbytes(13 << 20)
    with Edge({"s3": moto_s3["AWS_ENDPOINT"]}) as edge:
        there = behind(moto_s3, edge.urls["s3"])
        place = Place(there, there, [data])
        edge.rule = Served()
        place.copy()
        ranges = [call.headers.get("x-amz-copy-source-range") for call in edge.rule.at("s3", "PUT")]
        assert ranges == ["bytes=0-6291455", "bytes=6291456-12582911", "bytes=12582912-13631487"]
        assert edge.rule.sent("s3") == 0
        assert hashlib.sha256(place.copies()[0]).hexdigest() == place.inventory.shards[0].sha256


def test_a_server_that_takes_ranges_for_empty_parts_gets_the_bytes(environ, s3, edges, small_calls):
    data = random.Random(7).randbytes(7 << 20)
    there = behind(s3, edges.urls["public"])
    place = Place(there, there, [data])
    edges.rule = Served()
    assert place.copy().proofs == ("etag md5",)
    assert edges.rule.sent("public") == len(data)
    assert place.copies() == [data]
    assert place.store.endpoint.client.list_multipart_uploads(Bucket=place.store.bucket).get("Uploads") is None


def test_copies_that_stay_are_not_refused_for_where_many_shards_of_the_lab_lie(
    lab, atmosphere, store, new_bucket, write_tar, tmp_path, point_type, monkeypatch
):
    monkeypatch.setattr(inventory_stage, "_FEW", 2)  # as with a thousand
    urls = []
    for number in range(2):
        bucket = new_bucket()
        path = write_tar(tmp_path / f"{number}.tar", start=9 * number)
        store.endpoint.client.upload_file(str(path), bucket, f"{number}.tar")
        urls.append(f"s3://{bucket}/{number}.tar")
    lab.index.publish_schema(point_type, version="1.0.0")
    entry = lab.index.add_entry(atdata.Dataset[point_type](urls), name="points")
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client) == uri
