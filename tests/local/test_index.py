from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgpack
import pytest
import redis as redis_py

from atdata_core import BlobSource, Dataset, S3Source
from atdata_core.common.cid import entry_cid
from atdata_core.common.urls import expand
from atdata_core.errors import (
    DatasetNameError,
    EntryNotFoundError,
    MetadataError,
    RefusedError,
    ServiceRefusedError,
    ServiceUnavailableError,
    StorageError,
)
from atdata_core.local import Index, LocalDatasetEntry, LocalIndex
from atdata_core.local.foreign_entries import Foreign

MakeDataset = Callable[..., Dataset[Any]]
REF = "local://schemas/some.module.Sample@1.0.0"


def entry_of(name: str, *urls: str, metadata: dict[Any, Any] | None = None) -> LocalDatasetEntry:
    return LocalDatasetEntry(name, REF, list(urls), metadata)


def write_as_upstream(
    client: Any, name: str, *urls: str, metadata: dict[Any, Any] | None = None, label: bool = False
) -> str:
    """What upstream's index writes: the hash, and since 0.7 a label."""
    cid = entry_cid(REF, list(urls))
    values: dict[str, Any] = {
        "name": name,
        "schema_ref": REF,
        "data_urls": msgpack.packb(list(urls)),
        "cid": cid,
    }
    if metadata is not None:
        values["metadata"] = msgpack.packb(metadata)
    client.hset(f"LocalDatasetEntry:{cid}", mapping=values)
    if label:
        client.hset(f"Label:{name}@", mapping={"cid": cid, "name": name, "version": ""})
    return cid


@pytest.fixture
def commands(client: Any) -> Callable[[Callable[[], Any]], list[str]]:
    """The round trips that a call makes, as the server sees them: how often its client was read."""

    def count(call: Callable[[], Any]) -> list[str]:
        before = client.info("stats")["total_reads_processed"]
        call()
        return ["read"] * (client.info("stats")["total_reads_processed"] - before - 1)

    return count


def test_an_entry_is_found_by_name_and_by_cid(index: LocalIndex, make_dataset: MakeDataset):
    ds = make_dataset()
    entry = index.add_entry(ds, name="digits", metadata={"split": "train"})

    assert entry.data_urls == [ds.url]
    assert entry.schema_ref.endswith(".Measured@1.0.0")
    assert entry.wds_url == ds.url
    assert entry.sample_kind == entry.schema_ref
    assert index.get_entry_by_name("digits") == entry
    assert index.get_entry(entry.cid) == entry
    assert index.get_dataset("digits") == index.get_dataset(entry.cid) == entry
    assert Index is LocalIndex


def test_patterns_are_kept_as_they_were_given(index: LocalIndex, sample_type: type):
    ds = Dataset[sample_type](["s3://b/{000..003}.tar", "s3://b/last.tar"])  # type: ignore[valid-type]
    assert index.add_entry(ds, name="n").data_urls == ["s3://b/{000..003}.tar", "s3://b/last.tar"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"f": 0.1, "nan": float("inf"), "raw": b"\x00\xff", "big": 2**64 - 1, "low": -(2**63), "none": None},
        {1: "int", 2.5: "float", b"raw": "bytes", None: "none", False: [{}, {"deep": [[]]}]},
        {"ü": "日本語 😀 \x00"},
        {},
    ],
)
def test_metadata_comes_back_exactly(index: LocalIndex, metadata: dict[Any, Any]):
    index.register(entry_of("n", "a.tar", metadata=metadata))

    found = index.get_entry_by_name("n").metadata
    assert found == metadata
    assert [type(key) for key in found or {}] == [type(key) for key in metadata]
    assert index.get_entry(entry_cid(REF, ["a.tar"])).metadata == metadata


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a": [0, 1, 2, object()]}, r"metadata\['a'\]\[3\] is of type builtins.object"),
        ({"a": {"b": 2**64}}, r"metadata\['a'\]\['b'\] is an integer of 65 bits"),
        ({"a": "\ud800"}, r"metadata\['a'\] is a str that is not valid Unicode"),
        ({(1, 2): 3}, r"metadata\[\(1, 2\)\] has a tuple as its key"),
        ({2**70: 1}, "metadata has a key that is an integer of 71 bits"),
        ({"a": "x" * 100_000}, "metadata takes 100,008 bytes as msgpack, 100,000 are allowed"),
        ([1], "metadata is list, not dict"),
    ],
)
def test_metadata_that_cannot_be_kept_is_refused_with_its_place(
    index: LocalIndex, client: Any, metadata: Any, message: str
):
    with pytest.raises(MetadataError, match=message):
        index.register(entry_of("n", "a.tar", metadata=metadata))
    assert client.keys("*") == []


def test_metadata_that_contains_itself_is_refused(index: LocalIndex):
    metadata: dict[str, Any] = {}
    metadata["self"] = [metadata]
    with pytest.raises(MetadataError, match="nested deeper"):
        index.register(entry_of("n", "a.tar", metadata=metadata))


@pytest.mark.parametrize("name", ["", "  ", "a...b", "a\tb", "a\u2028b", "é" * 101, "..", "a/./b", 7])
def test_a_name_that_cannot_be_a_partition_key_is_refused(index: LocalIndex, client: Any, name: Any):
    with pytest.raises(DatasetNameError, match="A name has 1 to 200 bytes") as refusal:
        index.register(entry_of(name, "a.tar"))
    assert refusal.value.name == name
    assert client.keys("*") == []


def test_odd_names_that_dagster_takes_are_taken(index: LocalIndex):
    for name in ("a b", "a/b", "ü" * 100, "a@b", "a*[b]", "{x}", "a..b"):
        index.register(entry_of(name, f"{name}.tar"))
        assert index.get_entry_by_name(name).name == name


def test_a_url_with_a_signature_is_not_kept(index: LocalIndex, client: Any):
    with pytest.raises(StorageError) as refusal:
        index.register(entry_of("n", "https://h/a.tar?X-Amz-Signature=abcdef123456"))
    assert "abcdef123456" not in str(refusal.value)
    assert client.keys("*") == []


def test_two_names_for_the_same_data_are_both_kept_with_their_own_metadata(index: LocalIndex):
    first = index.register(entry_of("first", "a.tar", metadata={"n": 1}))
    second = index.register(entry_of("second", "a.tar", metadata={"n": 2}))

    assert first.cid == second.cid
    assert index.get_entry_by_name("first") == first
    assert index.get_entry_by_name("second") == second
    assert index.get_entry(first.cid) == second
    assert index.list_datasets() == [first, second]


def test_a_name_means_its_newest_data_and_the_older_stay_reachable(index: LocalIndex):
    old = index.register(entry_of("n", "old.tar"))
    new = index.register(entry_of("n", "new.tar"))

    assert index.get_entry_by_name("n") == new
    assert index.get_entry(old.cid) == old
    assert index.list_datasets() == [new]
    assert {entry.cid for entry in index.entries} == {old.cid, new.cid}
    assert len(index.all_entries) == 2


def test_metadata_can_be_taken_away_again(index: LocalIndex):
    index.register(entry_of("n", "a.tar", metadata={"a": 1}))
    index.register(entry_of("n", "a.tar"))
    assert index.get_entry_by_name("n").metadata is None
    assert index.get_entry(entry_cid(REF, ["a.tar"])).metadata is None


def test_a_known_name_is_found_in_two_round_trips_among_many(
    index: LocalIndex, client: Any, commands: Callable[..., list[str]]
):
    for number in range(300):
        write_as_upstream(client, f"other-{number}", f"{number}.tar")
    index.register(entry_of("n", "a.tar", metadata={"a": 1}))

    assert len(commands(lambda: index.get_entry_by_name("n"))) <= 2


def test_what_is_not_there_is_a_key_error_that_names_it(index: LocalIndex):
    for look in (index.get_entry, index.get_entry_by_name, index.get_dataset):
        with pytest.raises(KeyError, match="nowhere") as missing:
            look("nowhere")
        assert isinstance(missing.value, EntryNotFoundError)


def test_an_entry_of_another_program_is_found_and_then_indexed(
    index: LocalIndex, client: Any, commands: Callable[..., list[str]]
):
    cid = write_as_upstream(client, "theirs", "a.tar", "b.tar", metadata={"k": [1, 2.5]})

    entry = index.get_entry_by_name("theirs")

    assert (entry.cid, entry.data_urls, entry.metadata) == (cid, ["a.tar", "b.tar"], {"k": [1, 2.5]})
    assert len(commands(lambda: index.get_entry_by_name("theirs"))) <= 2


def test_an_entry_that_another_program_writes_later_becomes_the_current_one(index: LocalIndex, client: Any):
    index.register(entry_of("n", "ours.tar"))
    theirs = write_as_upstream(client, "n", "theirs.tar")

    index.list_datasets()

    assert index.get_entry_by_name("n").cid == theirs


def test_a_known_name_gives_what_another_program_wrote_since(
    index: LocalIndex, client: Any, commands: Callable[..., list[str]]
):
    first = write_as_upstream(client, "n", "one.tar")
    assert index.get_entry_by_name("n").cid == first
    second = write_as_upstream(client, "n", "two.tar")
    assert 0 < client.ttl("atdata:scanned") <= 10

    client.delete("atdata:scanned")

    assert index.get_entry_by_name("n").cid == second
    assert index.get_entry(first).data_urls == ["one.tar"]
    assert len(commands(lambda: index.get_entry_by_name("n"))) <= 2


def test_a_new_version_of_ours_stays_newer_than_theirs_that_nobody_had_seen(index: LocalIndex, client: Any):
    index.register(entry_of("n", "ours.tar"))
    write_as_upstream(client, "n", "theirs.tar")
    client.delete("atdata:scanned")

    ours = index.register(entry_of("n", "ours-2.tar"))
    client.delete("atdata:scanned")

    assert index.get_entry_by_name("n") == ours


def test_a_look_at_what_others_wrote_costs_few_round_trips(
    index: LocalIndex, client: Any, commands: Callable[..., list[str]]
):
    pipe = client.pipeline(transaction=False)
    for number in range(5000):
        write_as_upstream(pipe, f"theirs-{number}", f"{number}.tar")
    pipe.execute()
    index.register(entry_of("n", "a.tar"))
    client.delete("atdata:scanned")

    # One for each thousand keys and what stands beside them, not some for each key.
    assert len(commands(lambda: index.get_entry_by_name("n"))) <= 20


def test_an_older_entry_of_another_program_does_not_come_back(index: LocalIndex, client: Any):
    older = write_as_upstream(client, "n", "theirs.tar")
    ours = index.register(entry_of("n", "ours.tar"))

    assert [entry.cid for entry in index.list_datasets()] == [ours.cid]
    assert index.get_entry(older).data_urls == ["theirs.tar"]


def test_metadata_that_another_program_changes_is_seen(index: LocalIndex, client: Any):
    index.register(entry_of("n", "a.tar", metadata={1: "ours"}))
    write_as_upstream(client, "n", "a.tar", metadata={"theirs": True})

    assert index.get_entry_by_name("n").metadata == {"theirs": True}
    assert index.list_datasets()[0].metadata == {"theirs": True}


def test_of_two_unknown_versions_the_label_tells_the_newer(index: LocalIndex, client: Any):
    cids = [write_as_upstream(client, "n", f"{number}.tar") for number in range(8)]
    client.hset("Label:n@", mapping={"cid": cids[3], "name": "n", "version": ""})

    assert index.get_entry_by_name("n").cid == cids[3]
    assert {entry.cid for entry in index.entries} == set(cids)


def test_another_programs_label_is_a_name_too(index: LocalIndex, client: Any):
    cid = write_as_upstream(client, "tiny", "a.tar")
    client.hset("Label:mini*@1.9.0", mapping={"cid": "bafygone", "name": "mini*", "version": "1.9.0"})
    client.hset("Label:mini*@1.10.0", mapping={"cid": cid, "name": "mini*", "version": "1.10.0"})
    client.hset("Label:minime@1.0.0", mapping={"cid": cid, "name": "minime", "version": "1.0.0"})

    entry = index.get_entry_by_name("mini*")

    assert (entry.name, entry.cid) == ("mini*", cid)
    with pytest.raises(EntryNotFoundError):
        index.get_entry_by_name("mini")


def test_a_scan_goes_in_steps_and_gives_each_new_entry_once(index: LocalIndex, client: Any):
    cids = {write_as_upstream(client, f"n-{number}", f"{number}.tar") for number in range(50)}
    index.register(entry_of("ours", "ours.tar"))
    client.delete("atdata:scanned")
    cids |= {write_as_upstream(client, f"m-{number}", f"m{number}.tar") for number in range(50)}

    foreign = Foreign(client)
    cursor, found = foreign.scan(0, 10)
    steps = [len(found)]
    while cursor:
        cursor, more = foreign.scan(cursor, 10)
        steps.append(len(more))
        found += more

    assert len(found) == len({entry.cid for entry in found}) == 50
    assert max(steps) < 50
    assert foreign.scan(0, 1000) == (0, [])
    assert {entry.cid for entry in index.list_datasets()} == cids | {entry_cid(REF, ["ours.tar"])}


def test_each_entry_that_comes_in_is_an_event(index: LocalIndex, client: Any):
    ours = index.register(entry_of("ours", "a.tar"))
    theirs = write_as_upstream(client, "theirs", "b.tar")
    index.list_datasets()
    index.list_datasets()

    events = [fields for _, fields in client.xrange("atdata:events")]
    assert events == [
        {b"name": b"ours", b"cid": ours.cid.encode()},
        {b"name": b"theirs", b"cid": theirs.encode()},
    ]


def test_a_damaged_entry_is_left_out_with_a_warning_and_hides_no_other(index: LocalIndex, client: Any):
    write_as_upstream(client, "whole", "a.tar")
    client.hset("LocalDatasetEntry:broken", mapping={"name": "x", "schema_ref": "y", "data_urls": b"\xc1"})
    client.hset("LocalDatasetEntry:short", mapping={"name": "x"})
    client.set("LocalDatasetEntry:text", "not a hash")

    with pytest.warns(UserWarning, match="LocalDatasetEntry:(broken|short) in Redis cannot be read"):
        names = [entry.name for entry in index.list_datasets()]
    assert names == ["whole"]


def test_other_programs_names_are_read_whatever_they_are(index: LocalIndex, client: Any):
    write_as_upstream(client, "a...b", "a.tar")
    assert [entry.name for entry in index.list_datasets()] == ["a...b"]
    assert index.get_entry_by_name("a...b").data_urls == ["a.tar"]


def test_many_names_are_listed_in_order(index: LocalIndex, client: Any):
    for number in range(1201):
        write_as_upstream(client, f"{number:05d}", f"{number}.tar")
    assert [entry.name for entry in index.list_datasets()] == [f"{number:05d}" for number in range(1201)]


def test_an_index_with_a_store_writes_the_samples_there(
    client: Any, s3: dict[str, str], bucket: str, make_dataset: MakeDataset
):
    from atdata_core.local import S3DataStore

    store = S3DataStore(s3, bucket=bucket, prefix="lab")
    index = LocalIndex(client, data_store=store)

    entry = index.insert_dataset(make_dataset(4), name="my{set}", metadata={"a": 1})

    assert entry.data_urls[0].startswith(f"s3://{bucket}/lab/my%7Bset%7D/data--")
    assert list(index.shard_claims(entry.cid)) == entry.data_urls
    stored = Dataset[Any].__class_getitem__(make_dataset().sample_type)(entry.data_urls, data_store=store)
    assert [sample.label for sample in stored.ordered()] == [0, 1, 2, 3]


def test_anybodys_store_can_take_the_samples(client: Any, make_dataset: MakeDataset):
    class Elsewhere:
        def write_shards(self, ds: Any, *, prefix: str, **_: Any) -> list[str]:
            return [f"https://h/{prefix}/{sample.label}.tar" for sample in ds.ordered()]

        def read_url(self, url: str) -> str:
            return url

        def supports_streaming(self) -> bool:
            return True

    index = LocalIndex(client, data_store=Elsewhere())
    assert index.insert_dataset(make_dataset(2), name="n").data_urls == ["https://h/n/0.tar", "https://h/n/1.tar"]


def test_an_index_without_a_store_registers_what_is_there(index: LocalIndex, make_dataset: MakeDataset):
    ds = make_dataset()
    assert index.insert_dataset(ds, name="n").data_urls == [ds.url]


def test_an_entry_names_the_shards_of_a_source_where_others_find_them(index: LocalIndex, sample_type: type):
    of_a_bucket: Any = Dataset[sample_type](S3Source("b", ["x{0..1}.tar", "y.tar"]))
    entry = index.add_entry(of_a_bucket, name="of a bucket", schema_ref="local://schemas/a.B@1.0.0")
    assert expand(index.get_entry(entry.cid).data_urls) == ["s3://b/x{0..1}.tar", "s3://b/y.tar"]
    assert entry.data_store is of_a_bucket.source
    of_blobs: Any = Dataset[sample_type](BlobSource([{"did": "did:plc:a", "cid": "bafy"}]))
    with pytest.raises(RefusedError, match="only its BlobSource can open"):
        index.add_entry(of_blobs, name="of blobs")


def test_the_server_is_named_by_the_environment(redis_url: str, monkeypatch: pytest.MonkeyPatch, client: Any):
    monkeypatch.setenv("ATDATA_REDIS_URL", redis_url)
    LocalIndex().register(entry_of("n", "a.tar"))
    assert client.exists("atdata:dataset:n")


def test_keywords_count_more_than_the_variable(redis_url: str, monkeypatch: pytest.MonkeyPatch, client: Any):
    server, _, database = redis_url.rpartition("/")
    monkeypatch.setenv("ATDATA_REDIS_URL", f"{server.replace('//', '//nobody:wrong@')}/0")
    with pytest.raises(ServiceRefusedError):
        LocalIndex(db=int(database)).ping()

    LocalIndex(db=int(database), username=None, password=urlsplit(redis_url).password).register(
        entry_of("n", "a.tar")
    )

    assert client.exists("atdata:dataset:n")


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2/x@127.0.0.1:6379/0",
        "redis://:1234/hunter2@127.0.0.1:6379/0",
        "redis://:1234#hunter2@127.0.0.1:6379/0",
        "redis://:1234?hunter2@127.0.0.1:6379/0",
        "redis://127.0.0.1:6379/hunter2",
        "redis://[hunter2/0",
        "http://127.0.0.1:1234/0",
        "hunter2",
    ],
)
def test_a_variable_that_is_no_redis_url_is_refused_without_repeating_it(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATDATA_REDIS_URL", url)
    with pytest.raises(RefusedError, match=r"ATDATA_REDIS_URL is no Redis URL.*redis://host:6379/0") as refusal:
        LocalIndex()
    shown = "".join(traceback.format_exception(refusal.value))
    assert "hunter2" not in shown
    assert "1234" not in shown


def test_a_password_may_hold_any_character_when_it_is_encoded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATDATA_REDIS_URL", "redis://:a%2Fb%40c%23d%3Fe%3Af@127.0.0.1:6380/3")
    options = LocalIndex().redis.connection_pool.connection_kwargs
    assert (options["password"], options["port"], options["db"]) == ("a/b@c#d?e:f", 6380, 3)


def test_a_server_that_is_down_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATDATA_REDIS_URL", "redis://user:hunter2@127.0.0.1:1/0")
    with pytest.raises(ServiceUnavailableError, match=r"127\.0\.0\.1:1 .*ATDATA_REDIS_URL") as down:
        LocalIndex().get_entry_by_name("n")
    assert down.value.transient
    assert "hunter2" not in str(down.value) + repr(down.value.facts) + repr(pickle.loads(pickle.dumps(down.value)))


def test_a_wrong_password_is_a_refusal_without_the_password(redis_url: str):
    with pytest.raises(ServiceRefusedError, match="password") as refusal:
        LocalIndex(redis_py.Redis.from_url(redis_url, username="nobody", password="hunter2")).list_datasets()
    assert "hunter2" not in str(refusal.value)


def test_a_client_that_decodes_its_answers_is_refused(redis_url: str):
    with pytest.raises(RefusedError, match="decode_responses"):
        LocalIndex(redis_py.Redis.from_url(redis_url, decode_responses=True))


def test_an_entry_says_what_it_is_without_its_store():
    entry = LocalDatasetEntry("n", REF, ["a.tar"], data_store=object())
    assert entry == LocalDatasetEntry("n", REF, ["a.tar"])
    assert "object" not in repr(entry)
    assert LocalDatasetEntry("n", REF, []).wds_url == ""


def test_an_entry_is_written_and_read_as_other_programs_do(index: LocalIndex, client: Any):
    entry = LocalDatasetEntry("n", REF, ["s3://b/a.tar"], {"a": 1})
    entry.write_to(client)
    assert LocalDatasetEntry.from_redis(client, entry.cid) == entry
    assert index.get_dataset("n") == entry
    with pytest.raises(EntryNotFoundError, match="no LocalDatasetEntry:bafynone"):
        LocalDatasetEntry.from_redis(client, "bafynone")


def test_a_store_is_told_below_what_path_and_in_what_shards_samples_go(
    client: Any, s3: dict[str, str], bucket: str, make_dataset: MakeDataset
):
    from atdata_core.local import S3DataStore

    index = LocalIndex(client, data_store=S3DataStore(s3, bucket=bucket))
    entry = index.insert_dataset(make_dataset(5), name="n", prefix="plants/v1", maxcount=2, cache_local=True)
    assert [url.startswith(f"s3://{bucket}/plants/v1/data--") for url in entry.data_urls] == [True] * 3
