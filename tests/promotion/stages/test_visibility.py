"""What is published is seen where the record says, by strangers too, before the record is written."""

import io
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import atdata_core as atdata
from atdata_core.errors import (
    NotPublicError,
    NotPublicWarning,
    ServiceUnavailableError,
    ShardChangedError,
    ShardMissingError,
    StorageError,
)
from atdata_core.local import S3DataStore
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.options import PromotionOptions
from atdata_core.promotion.stages.copy_stage import copy_shards
from atdata_core.promotion.stages.inventory_stage import take_inventory
from atdata_core.promotion.stages.resolved_values import resolve
from atdata_core.promotion.stages.visibility import AnonymousReader, probe_published
from atdata_core.protocols import ShardFacts
from atdata_core.state.index_state import state_of

PDS_OF_THE_WORLD = "https://93.184.215.14"


class Shards(BaseHTTPRequestHandler):
    """A web server with files, and what was asked of it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(dict(self.headers))
        data = self.server.files.get(self.path)
        if self.server.status or data is None:
            self.send_response(self.server.status or 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, last = 0, len(data) - 1
        if wanted := self.headers.get("Range"):
            first, last = (int(part or last) for part in wanted.removeprefix("bytes=").split("-"))
            last = min(last, len(data) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        else:
            self.send_response(200)
        if self.server.etag is not None:
            self.send_header("ETag", self.server.etag)
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[first : last + 1])

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def web():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shards)
    server.files, server.asked, server.etag, server.status = {}, [], None, None
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def served(web, lab, write_tar, tmp_path, point_type):
    """An entry of two shards on the web server."""
    for number in range(2):
        path = write_tar(tmp_path / f"{number}.tar", start=5 * number)
        web.files[f"/{number}.tar"] = Path(path).read_bytes()
    lab.index.publish_schema(point_type, version="1.0.0")
    return lab.index.add_entry(atdata.Dataset[point_type](f"{web.url}/{{0..1}}.tar"), name="served")


def stage_by_stage(lab, entry, store=None):
    """What the stages before the record give."""
    ledger = state_of(lab.index).ledger
    inventory = take_inventory(entry, lab.index, ledger, destination=store)
    return copy_shards(entry, inventory, lab.index, ledger, data_store=store)


def see(lab, entry, copies, pds, store=None, **asked):
    wanted = PromotionOptions(**asked)
    resolved = resolve(
        entry,
        "did:plc:nobody",
        state_of(lab.index).ledger,
        data_store=store,
        options=wanted,
        find=lambda collection, rkey: None,
    )
    return probe_published(resolved, copies, lab.index, pds)


def test_shards_that_need_a_key_are_published_with_one_warning(lab, atmosphere):
    entry = lab.insert("points", shards=5)
    with pytest.warns(NotPublicWarning) as caught:
        promote_to_atmosphere(entry, lab.index, atmosphere.client)
    (warning,) = caught
    assert "5 of 5 shards cannot be read anonymously" in str(warning.message)
    assert "and 2 more" in str(warning.message)
    assert "public_url" in str(warning.message)
    assert warning.filename == __file__


def test_shards_that_need_a_key_are_refused_on_request_before_anything_is_written(lab, atmosphere, new_bucket):
    entry = lab.insert("points")
    with pytest.raises(NotPublicError, match="3 of 3") as caught:
        promote_to_atmosphere(entry, lab.index, atmosphere.client, require_public=True)
    assert len(caught.value.urls) == 3
    assert atmosphere.counts == [0, 0, 0]
    store = S3DataStore(lab.s3, bucket=new_bucket())
    with pytest.raises(NotPublicError, match="3 of 3"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store, require_public=True)
    assert atmosphere.counts[1:] == [0, 0]


def test_a_public_url_is_published_and_read_by_strangers(lab, atmosphere, new_bucket, box):
    entry = lab.insert("points")
    bucket = new_bucket()
    store = S3DataStore(lab.s3, bucket=bucket, public_url=f"{box.public_url}/{bucket}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store, require_public=True)
    shards = atmosphere.client.get_record(uri).value["storage"]["shards"]
    assert all(shard["url"].startswith(f"{box.public_url}/{bucket}/promoted/points/") for shard in shards)


def served_from(web, lab, bucket, change):
    """Copies of a dataset, and a web server that serves them changed, with other ETags than S3."""
    entry = lab.insert("points", shards=2)
    store = S3DataStore(lab.s3, bucket=bucket, public_url=f"{web.url}/{bucket}")
    copies = stage_by_stage(lab, entry, store)
    web.etag = '"its-own"'
    for shard in copies.shards:
        with store.open_shard(shard.url) as stream:
            web.files[shard.url.removeprefix(web.url)] = change(stream.read())
    return entry, store, copies


def test_bytes_at_a_public_url_are_those_of_the_copy_or_nothing_is_published(web, lab, new_bucket, atmosphere):
    # Of equal size: the bucket is as it should be, only what strangers get is not.
    entry, store, _ = served_from(web, lab, new_bucket(), lambda data: data[:600] + b"?" + data[601:])
    with pytest.raises(ShardChangedError, match="is not what is to be published"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert atmosphere.counts[1:] == [0, 0]


def test_a_public_url_with_etags_of_its_own_is_read(web, lab, new_bucket, pds):
    entry, store, copies = served_from(web, lab, new_bucket(), lambda data: data)
    assert see(lab, entry, copies, pds.url, store).summary == "all"
    assert sum("Range" not in asked for asked in web.asked) == 2


def test_a_public_url_at_which_nothing_is_is_not_published(web, lab, new_bucket, atmosphere):
    entry, store, _ = served_from(web, lab, new_bucket(), lambda data: data)
    web.files.clear()
    with pytest.raises(ShardMissingError, match="ATDATA_PUBLISH_PUBLIC_URL"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert atmosphere.counts[1:] == [0, 0]


@pytest.mark.parametrize(
    "url", ["https://user:pass@h.example/b", "https://h.example/b?X-Amz-Signature=1", "https://h.example/b?a=1"]
)
def test_a_public_url_with_credentials_or_a_query_is_refused(s3, url):
    with pytest.raises(StorageError) as caught:
        S3DataStore(s3, bucket="b", public_url=url)
    assert "pass" not in str(caught.value)
    assert "Signature=1" not in str(caught.value)


def test_a_stranger_asks_once_for_the_first_bytes_without_any_key(lab, served, web, pds):
    web.etag = '"one"'
    copies = stage_by_stage(lab, served)
    web.asked.clear()
    seen = see(lab, served, copies, pds.url)
    assert (seen.shards, seen.summary, seen.warning) == (2, "all", None)
    assert [asked["Range"] for asked in web.asked] == ["bytes=0-511"] * 2
    assert not any("Authorization" in asked or "Cookie" in asked for asked in web.asked)


def test_a_private_address_is_out_of_reach_unless_the_pds_is_there_too(lab, served, web, pds, monkeypatch):
    copies = stage_by_stage(lab, served)
    web.asked.clear()
    (kept, _) = AnonymousReader(PDS_OF_THE_WORLD).unreadable(copies.shards)
    assert kept.reason == "private address 127.0.0.1"
    assert AnonymousReader(PDS_OF_THE_WORLD).out_of_reach(copies.shards) == (
        (copies.shards[0].url, kept.reason),
        (copies.shards[1].url, kept.reason),
    )
    # A configured endpoint is no exception: strangers have another configuration.
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", web.url)
    assert len(AnonymousReader(PDS_OF_THE_WORLD).unreadable(copies.shards)) == 2
    assert web.asked == []
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", web.url.removeprefix("http://"))
    assert AnonymousReader(PDS_OF_THE_WORLD).unreadable(copies.shards) == ()
    monkeypatch.delenv("ATDATA_ALLOW_PRIVATE")
    assert AnonymousReader(pds.url).unreadable(copies.shards) == ()


def test_a_private_s3_service_is_out_of_reach_for_strangers(lab):
    shard = ShardFacts("s3://b/k.tar", 1, "0" * 64, endpoint="http://10.0.0.7:9000")
    assert AnonymousReader(PDS_OF_THE_WORLD).unreadable([shard])[0].reason == "private address 10.0.0.7"


def test_trouble_that_may_pass_is_no_answer_and_an_error_only_where_public_shards_are_required(
    lab, served, web, pds, monkeypatch
):
    from atdata_core.common import retry_after

    monkeypatch.setattr(retry_after, "ours", retry_after.RetryAfter(sleep=lambda seconds: None))
    copies = stage_by_stage(lab, served)
    web.status = 500
    assert {found.reason for found in AnonymousReader(pds.url).unreadable(copies.shards)} == {"no answer"}
    with pytest.raises(ServiceUnavailableError):
        see(lab, served, copies, pds.url, require_public=True)


@pytest.mark.usefixtures("a_while_later")
def test_a_kept_shard_that_changed_after_the_inventory_is_found_before_the_record(lab, served, web, pds):
    copies = stage_by_stage(lab, served)
    before = web.files["/1.tar"]
    web.files["/1.tar"] = before[:-512]
    with pytest.raises(ShardChangedError, match=r"1\.tar"):
        see(lab, served, copies, pds.url)
    # As many bytes, and no ETag that could tell.
    web.files["/1.tar"] = before[:600] + bytes([before[600] ^ 1]) + before[601:]
    with pytest.raises(ShardChangedError, match="SHA-256"):
        see(lab, served, copies, pds.url)
    del web.files["/1.tar"]
    with pytest.raises(ShardMissingError, match=r"1\.tar"):
        see(lab, served, copies, pds.url)
    web.files["/1.tar"] = before
    assert see(lab, served, copies, pds.url).unreadable == ()


def replace_by_as_many_other_bytes(web, write_tar, tmp_path):
    """Other points, and as many bytes as before."""
    other = Path(write_tar(tmp_path / "other.tar", start=70)).read_bytes()
    assert other != web.files["/1.tar"]
    assert len(other) == len(web.files["/1.tar"])
    web.files["/1.tar"] = other


@pytest.mark.parametrize("etag", ['W/"v1"', 'w/"v1"', "W/v1", '""'])
def test_a_weak_etag_proves_nothing_so_replaced_bytes_are_not_published(
    lab, served, web, atmosphere, write_tar, tmp_path, etag
):
    web.etag = etag
    take_inventory(served, lab.index, state_of(lab.index).ledger)
    replace_by_as_many_other_bytes(web, write_tar, tmp_path)
    with pytest.raises(ShardChangedError, match="does not hold what is recorded of it"):
        promote_to_atmosphere(served, lab.index, atmosphere.client)
    assert atmosphere.counts == [0, 0, 0]


def test_another_etag_tells_of_other_bytes_however_short_ago_they_were_seen(
    lab, served, web, pds, write_tar, tmp_path
):
    web.etag = '"v1"'
    copies = stage_by_stage(lab, served)
    replace_by_as_many_other_bytes(web, write_tar, tmp_path)
    web.etag = '"v2"'
    with pytest.raises(ShardChangedError):
        see(lab, served, copies, pds.url)


@pytest.mark.usefixtures("a_while_later")
def test_bytes_replaced_under_a_weak_etag_after_the_inventory_are_found_before_the_record(
    lab, served, web, pds, write_tar, tmp_path
):
    web.etag = 'W/"v1"'
    copies = stage_by_stage(lab, served)
    assert see(lab, served, copies, pds.url).unreadable == ()
    replace_by_as_many_other_bytes(web, write_tar, tmp_path)
    with pytest.raises(ShardChangedError, match="not what is to be published any more"):
        see(lab, served, copies, pds.url)


@pytest.mark.usefixtures("a_while_later")
def test_a_copy_that_changed_after_it_was_made_is_found_before_the_record(lab, new_bucket, pds):
    entry = lab.insert("points")
    store = S3DataStore(lab.s3, bucket=new_bucket())
    copies = stage_by_stage(lab, entry, store)
    key = copies.shards[2].url.split("/", 3)[3]
    before = store.endpoint.client.get_object(Bucket=store.bucket, Key=key)["Body"].read()
    for body in (before[:-512], bytes(len(before))):
        store.endpoint.client.put_object(Bucket=store.bucket, Key=key, Body=body)
        with pytest.raises(ShardChangedError, match=key):
            see(lab, entry, copies, pds.url, store)
    store.endpoint.client.delete_object(Bucket=store.bucket, Key=key)
    with pytest.raises(ShardMissingError, match=key):
        see(lab, entry, copies, pds.url, store)
    store.endpoint.client.put_object(Bucket=store.bucket, Key=key, Body=io.BytesIO(before))
    assert see(lab, entry, copies, pds.url, store).summary == "3 of 3 cannot be read: needs a key"


def test_a_bucket_that_anybody_may_read_is_read_anonymously(moto_s3, lab, write_tar, tmp_path, pds):
    store = S3DataStore(moto_s3, bucket="open-to-all")
    store.endpoint.client.create_bucket(Bucket="open-to-all")
    copies = stage_by_stage(lab, lab.insert("points"), store)
    for shard in copies.shards:
        key = shard.url.split("/", 3)[3]
        store.endpoint.client.put_object_acl(Bucket="open-to-all", Key=key, ACL="public-read")
    assert see(lab, lab.index.get_entry_by_name("points"), copies, pds.url, store).unreadable == ()
