"""A large dataset is copied by steps beside each other, within the one asset that people see."""

import dagster as dg
import pytest

from atdata_core.promotion.copies import chunks
from atdata_core.promotion.stages.inventory_stage import recall_inventory
from atdata_core.state.index_state import state_of

CHUNKS = ["copied_shards.copy_chunk[shards_1_to_1]", "copied_shards.copy_chunk[shards_2_to_2]"]


def steps(result):
    return [event.step_key for event in result.all_events if event.is_step_success]


def copied(result):
    [mark] = result.asset_materializations_for_node("copied_shards")
    return mark.metadata["copied"].value


@pytest.fixture
def wide(lab, published, monkeypatch):
    """The lab, where a dataset of two shards is a large one."""
    monkeypatch.setattr(chunks, "SHARDS", 1)
    lab.insert("pictures")
    return lab


def test_each_chunk_is_a_step_and_the_asset_is_marked_once(wide, run, objects):
    result = run("pictures")
    assert result.success
    assert steps(result)[2:] == [
        "copied_shards.share_out",
        *CHUNKS,
        "copied_shards.see_copies",
        "atmosphere_record",
    ]
    assert copied(result) == 2
    assert len([key for key in objects(wide.bucket) if key.startswith("promoted/")]) == 2


def test_a_dataset_that_is_not_large_or_is_copied_already_has_no_chunks(wide, run, monkeypatch):
    run("pictures")
    again = run("pictures", stages=["copied_shards"])
    assert (steps(again), copied(again)) == (["copied_shards.share_out", "copied_shards.see_copies"], 0)
    monkeypatch.setattr(chunks, "SHARDS", 2)
    wide.insert("others", start=10)
    others = run("others")
    assert (steps(others)[2:4], copied(others)) == (["copied_shards.share_out", "copied_shards.see_copies"], 2)


def test_a_chunk_that_fails_names_the_shard_and_only_it_is_done_again(wide, run, objects, instance, s3):
    from atdata_core.stores.s3.objects import S3Endpoint

    entry = wide.index.get_entry_by_name("pictures")
    assert run("pictures", stages=["local_dataset", "published_schema"]).success
    found = recall_inventory(entry, wide.index, state_of(wide.index).ledger)
    client = S3Endpoint.from_credentials(s3).client
    bucket, _, key = found.shards[1].url.removeprefix("s3://").partition("/")
    kept = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    client.delete_object(Bucket=bucket, Key=key)
    failed = run("pictures", stages=["copied_shards"])
    assert not failed.success
    assert steps(failed) == ["copied_shards.share_out", CHUNKS[0]]
    [failure] = [event.step_failure_data for event in failed.all_events if event.is_step_failure]
    assert key in failure.user_failure_data.description
    assert wide.index.redis.hget("atdata:ledger:dataset:pictures", "failure") is not None
    client.put_object(Bucket=bucket, Key=key, Body=kept)
    mended = run("pictures", stages=["copied_shards"])
    assert mended.success
    assert copied(mended) == 1


def test_what_changes_while_it_is_copied_is_left_to_the_last_step(wide, run, monkeypatch):
    from atdata_core.promotion.stages import copy_stage

    share_out = copy_stage.chunks_to_copy

    def changing(*arguments):
        found = share_out(*arguments)
        # Somebody stores other samples under the name while the chunks wait for workers.
        wide.insert("pictures", start=20)
        return found

    monkeypatch.setattr(copy_stage, "chunks_to_copy", changing)
    result = run("pictures")
    assert result.success
    assert [step for step in steps(result) if step in CHUNKS] == CHUNKS
    assert copied(result) == 2


def test_the_steps_of_copying_wait_in_one_queue_those_of_publishing_in_another(defined):
    job = defined().resolve_job_def("promote")
    queues = {
        str(node.path): job.get_node(node).definition.tags.get("dagster-celery/queue")
        for node in job.graph.iterate_node_handles()
        if not isinstance(job.get_node(node).definition, dg.GraphDefinition)
    }
    assert queues == {
        "['local_dataset']": "copying",
        "['published_schema']": "publishing",
        "['copied_shards', 'share_out']": "copying",
        "['copied_shards', 'copy_chunk']": "copying",
        "['copied_shards', 'see_copies']": "copying",
        "['atmosphere_record']": "publishing",
    }
