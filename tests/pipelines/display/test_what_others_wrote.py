"""What somebody else wrote to a shared Redis: neither files of this machine nor false claims are published."""

import io
import tarfile
from dataclasses import replace

import msgpack
import pytest

import atdata_core as atdata
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.common.cid import entry_cid
from atdata_core.local.shard_claims import claims_key, encoded
from atdata_core.promotion.inventory import read_schema
from atdata_core.protocols import ShardFacts
from atdata_core.state.facts import FAILURE, Inventory
from atdata_core.state.index_state import state_of
from atdata_pipelines.display.previews import preview_of
from tests.pipelines.conftest import Picture, picture


@atdata.packable
class Word:
    """Samples of another kind than pictures."""

    text: str


@pytest.fixture
def secret(tmp_path):
    """A tar of this machine: a picture, and a private key."""
    path = tmp_path / "secret.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in (("000000.msgpack", picture(0).packed), ("id_rsa", b"-----BEGIN PRIVATE KEY-----")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def by_stranger(lab):
    """An entry as another program writes it: upstream's hash, and nothing beside it."""
    lab.publish_schema()
    ref = lab.index.publish_schema(Picture)

    def write(*urls, name="theirs"):
        cid = entry_cid(ref, list(urls))
        values = {"name": name, "schema_ref": ref, "cid": cid, "data_urls": msgpack.packb(list(urls))}
        lab.index.redis.hset(f"LocalDatasetEntry:{cid}", mapping=values)
        return lab.index.get_entry(cid)

    return write


@pytest.fixture
def refused(lab, run, run_bulk, stranger, account, published, objects, command):
    """A dataset is refused by each way through Dagster (two runs: seconds); the reason as ``status`` shows it."""

    def attempt(name, words):
        before = objects(published)
        assert not run(name).success
        failure = state_of(lab.index).ledger.get(FAILURE(name))
        assert (failure.stage, failure.passes) == ("local_dataset", False)
        assert words in failure.reason
        assert not run_bulk(datasets=[name]).success
        assert stranger.list_records(ENTRY, repo=account.did)[0] == []
        assert objects(published) == before
        return command("status", name).stdout

    return attempt


@pytest.mark.parametrize("url", ["/etc/passwd", "secret"])
def test_a_file_that_a_stranger_named_is_refused_and_the_sensor_leaves_it_with_the_reason(
    by_stranger, refused, secret, tick, url
):
    by_stranger(url if url == "/etc/passwd" else str(secret))
    assert [request.partition_key for request in tick().run_requests] == ["theirs"]
    assert "ATDATA_LOCAL_FOLDERS" in refused("theirs", "a file of this machine")
    found = tick()
    assert found.run_requests == []
    assert "theirs" in found.skip_message


def test_a_named_folder_opens_the_way_for_samples_and_for_nothing_else(
    by_stranger, refused, secret, monkeypatch, command
):
    by_stranger(str(secret))
    monkeypatch.setenv("ATDATA_LOCAL_FOLDERS", str(secret.parent))
    assert "id_rsa" in refused("theirs", "1 file that is no sample")


def test_a_preview_shows_nothing_of_a_file_that_may_not_be_published(
    lab, by_stranger, secret, tmp_path, monkeypatch
):
    entry = by_stranger(str(secret))
    schema, facts = read_schema(entry, lab.index), (ShardFacts(str(secret), 1, "0" * 64),)
    inventory = Inventory(entry.name, entry.cid, entry.schema_ref, schema, facts, ("read",))
    shown = preview_of(entry, lab.index, inventory, None)
    assert shown.markdown.startswith("No preview: ")
    assert "BEGIN" not in shown.markdown
    monkeypatch.setenv("ATDATA_LOCAL_FOLDERS", str(tmp_path))
    assert "key" in preview_of(entry, lab.index, inventory, None).markdown


def test_a_false_claim_is_refused(lab, refused):
    entry = lab.insert("claimed")
    url, claim = next(iter(lab.index.shard_claims(entry.cid).items()))
    lab.index.redis.hset(claims_key(entry.cid), url, encoded(replace(claim, sha256="f" * 64)))
    refused("claimed", "does not hold what is recorded of it")


def test_samples_of_another_schema_than_the_entry_names_are_refused(lab, refused):
    entry = lab.insert("pictures")
    ref = lab.index.publish_schema(Word)
    lab.index.add_entry(atdata.Dataset[Picture](entry.data_urls), name="mislabelled", schema_ref=ref)
    refused("mislabelled", "a field 'image' that Word has not")


def test_what_the_pipeline_has_read_no_other_machine_of_the_account_reads(lab, run, tmp_path, monkeypatch):
    from atdata_core.promotion.stages.inventory_stage import take_inventory
    from atdata_pipelines.config.resources import AtprotoResource

    entry = lab.insert("pictures")
    monkeypatch.setenv("ATDATA_STATE_DIR", str(tmp_path / "one"))
    assert run("pictures", stages=["local_dataset"]).success
    monkeypatch.setenv("ATDATA_STATE_DIR", str(tmp_path / "two"))
    found = take_inventory(entry, lab.index, state_of(lab.index).ledger, did=AtprotoResource().did())
    assert found.looks == ("etag", "etag")
