"""A plan says what a promotion would do, and writes nothing anywhere."""

import json

import pytest

import atdata_core as atdata
from atdata_core.atmosphere.record_format.record_keys import LABEL
from atdata_core.common.urls import expand
from atdata_core.errors import NotPublicError, PreflightError, ShardChangedError, ShardConflictError
from atdata_core.local import S3DataStore
from atdata_core.promote import plan_promotion, promote_to_atmosphere


def everything(lab, atmosphere, buckets):
    """All that Redis, the stores and the account hold."""
    redis, client = lab.index.redis, lab.repo.data_store.endpoint.client
    stored = {key: redis.dump(key) for key in redis.scan_iter() if key != b"atdata:scanned"}
    objects = {
        bucket: [
            (found["Key"], found["ETag"]) for found in client.list_objects_v2(Bucket=bucket).get("Contents", [])
        ]
        for bucket in buckets
    }
    return stored, objects, atmosphere.commit, atmosphere.counts


def test_nothing_is_written_whatever_the_plan_says(lab, atmosphere, new_bucket, point_type):
    entry = lab.insert("points")
    # Without claims: the first inventory would record them.
    lab.index.add_entry(atdata.Dataset[point_type](entry.data_urls), name="points")
    entry = lab.index.get_entry_by_name("points")
    assert lab.index.shard_claims(entry.cid) == {}
    target = new_bucket()
    store = S3DataStore(lab.s3, bucket=target)
    before = everything(lab, atmosphere, [lab.bucket, target])
    plan_promotion(entry, lab.index, atmosphere.client, data_store=store, tags=["a"], version="1.0.0")
    plan_promotion(entry, lab.index, atmosphere.client)
    assert everything(lab, atmosphere, [lab.bucket, target]) == before
    promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    before = everything(lab, atmosphere, [lab.bucket, target])
    plan = plan_promotion(entry, lab.index, atmosphere.client, data_store=store, tags=["b"])
    assert (plan.entry, plan.records) == ("update", 1)
    assert everything(lab, atmosphere, [lab.bucket, target]) == before


def test_it_tells_which_shards_strangers_cannot_read(lab, atmosphere, new_bucket, box):
    entry = lab.insert("points")
    plan = plan_promotion(entry, lab.index, atmosphere.client)
    assert (plan.shards, plan.destination, plan.copies) == (3, None, ())
    assert {reason for _, reason in plan.unreadable} == {"needs a key"}
    assert [url for url, _ in plan.unreadable] == expand(entry.data_urls)
    with pytest.raises(NotPublicError):
        plan_promotion(entry, lab.index, atmosphere.client, require_public=True)
    bucket = new_bucket()
    store = S3DataStore(lab.s3, bucket=bucket, public_url=f"{box.public_url}/{bucket}")
    # Nothing is there yet, and its address can be reached.
    assert (
        plan_promotion(entry, lab.index, atmosphere.client, data_store=store, require_public=True).unreadable == ()
    )
    promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert plan_promotion(entry, lab.index, atmosphere.client, data_store=store).unreadable == ()
    private = S3DataStore(lab.s3, bucket=new_bucket())
    promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=private, allow_private=True)
    assert len(plan_promotion(entry, lab.index, atmosphere.client, data_store=private).unreadable) == 3


def test_copies_under_another_name_are_not_planned_again(lab, atmosphere, new_bucket, point_type):
    entry = lab.insert("points")
    store = S3DataStore(lab.s3, bucket=new_bucket())
    promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    lab.index.add_entry(atdata.Dataset[point_type](entry.data_urls), name="twin")
    twin = lab.index.get_entry_by_name("twin")
    plan = plan_promotion(twin, lab.index, atmosphere.client, data_store=store)
    assert (plan.bytes_to_copy, plan.entry) == (0, "create")
    promote_to_atmosphere(twin, lab.index, atmosphere.client, data_store=store)
    assert plan_promotion(twin, lab.index, atmosphere.client, data_store=store).records == 0


def test_it_refuses_what_a_promotion_would_refuse(lab, atmosphere, new_bucket):
    entry = lab.insert("points")
    with pytest.raises(PreflightError):
        plan_promotion(entry, lab.index, atmosphere.client, tags=["t"] * 31)
    store = S3DataStore(lab.s3, bucket=new_bucket())
    plan = plan_promotion(entry, lab.index, atmosphere.client, data_store=store)
    key = plan.copies[1].url.split("/", 3)[3]
    store.endpoint.client.put_object(Bucket=store.bucket, Key=key, Body=b"somebody's")
    with pytest.raises(ShardConflictError, match=key):
        plan_promotion(entry, lab.index, atmosphere.client, data_store=store)
    source = plan_promotion(entry, lab.index, atmosphere.client).unreadable[0].url
    bucket, key = source.removeprefix("s3://").split("/", 1)
    client = lab.repo.data_store.endpoint.client
    data = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    client.put_object(Bucket=bucket, Key=key, Body=data + bytes(512))
    with pytest.raises(ShardChangedError, match="accept"):
        plan_promotion(entry, lab.index, atmosphere.client)
    assert atmosphere.counts == [0, 0, 0]


def test_it_is_told_as_json_too(lab, atmosphere, new_bucket):
    entry = lab.insert("points")
    plan = plan_promotion(entry, lab.index, atmosphere.client, data_store=S3DataStore(lab.s3, bucket=new_bucket()))
    told = json.loads(json.dumps(plan.to_json()))
    assert (told["schema"], told["entry"], told["label"]) == ("create", "create", "create")
    assert (told["shards"], told["size"], told["bytes_to_copy"]) == (3, plan.size, plan.size)
    assert [copy["url"] for copy in told["copies"]] == [copy.url for copy in plan.copies]
    assert told["write_points"] == 6
    assert not atmosphere.records(LABEL)
