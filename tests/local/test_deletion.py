"""An entry that its owner deleted is gone for every look, and removing a dataset leaves what others have."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from atdata_core.common.cid import entry_cid
from atdata_core.errors import EntryNotFoundError
from atdata_core.local import LocalDatasetEntry, LocalIndex
from atdata_core.local.registry import Position
from atdata_core.protocols import ShardFacts

if TYPE_CHECKING:
    from crowd import RoundTrips

REF = "local://schemas/some.module.Sample@1.0.0"
CLAIM = ShardFacts("a.tar", 1, "00" * 32)


@pytest.fixture
def keep(index: LocalIndex) -> Callable[..., LocalDatasetEntry]:
    """Register an entry, with a claim on its shard."""

    def register(name: str, url: str = "a.tar", metadata: dict[Any, Any] | None = None) -> LocalDatasetEntry:
        return index.register(LocalDatasetEntry(name, REF, [url], metadata), claims=[CLAIM])

    return register


def write_as_upstream(client: Any, name: str, url: str, **more: Any) -> str:
    cid = entry_cid(REF, [url])
    values = {"name": name, "schema_ref": REF, "data_urls": msgpack.packb([url]), "cid": cid, **more}
    client.hset(f"LocalDatasetEntry:{cid}", mapping=values)
    return cid


def key_of(entry: LocalDatasetEntry) -> str:
    return f"LocalDatasetEntry:{entry.cid}"


def everything(client: Any) -> dict[bytes, bytes]:
    return {key: client.dump(key) for key in client.keys("*") if key != b"atdata:scanned"}


def deletions() -> list[Any]:
    """How an entry goes that another program deletes, or a database that was restored in part."""

    def expire(client: Any, key: str) -> None:
        client.pexpire(key, 1)
        while client.exists(key):
            pass

    def flush(client: Any, _: str) -> None:
        ours = {key: client.dump(key) for key in client.keys("atdata:*")}
        client.flushdb()
        for key, value in ours.items():
            client.restore(key, 0, value)

    return [
        pytest.param(lambda client, key: client.delete(key), id="DEL"),
        pytest.param(lambda client, key: client.unlink(key), id="UNLINK"),
        pytest.param(expire, id="expired"),
        pytest.param(lambda client, key: client.rename(key, "elsewhere"), id="RENAME"),
        pytest.param(flush, id="restored in part"),
    ]


@pytest.mark.parametrize("delete", deletions())
def test_a_deleted_entry_is_gone_for_every_look(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry], delete: Callable[[Any, str], Any]
):
    entry = keep("cells", metadata={"license": "MIT"})
    _, position = index.news(Position())
    delete(client, key_of(entry))
    for look in (index.get_entry_by_name, index.get_dataset, index.removal_of):
        with pytest.raises(EntryNotFoundError):
            look("cells")
    for look in (index.get_entry, index.get_dataset):
        with pytest.raises(EntryNotFoundError):
            look(entry.cid)
    assert list(index.names()) == index.list_datasets() == index.all_entries == []
    assert index.current_cids(["cells"]) == [None]
    for since in (Position(), Position("0-0"), position):
        assert index.news(since)[0] == {}
    assert index.was_deleted("cells", entry.cid)


@pytest.mark.parametrize("deleted", ["newest", "middle", "oldest", "newest and middle"])
def test_where_an_entry_of_a_name_is_deleted_the_newest_that_remains_is_the_names(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry], deleted: str
):
    versions: dict[str, LocalDatasetEntry] = {}
    for age in ("oldest", "middle", "newest"):
        # When an entry was registered is told in milliseconds.
        time.sleep(0.002)
        versions[age] = keep("cells", f"{age}.tar")
    going = deleted.split(" and ")
    client.delete(*(key_of(versions[age]) for age in going))
    left = [entry for age, entry in versions.items() if age not in going]
    newest = index.get_entry_by_name("cells")
    assert newest == left[-1]
    assert newest.registered_at is not None
    assert index.list_datasets() == [newest]
    assert index.news(Position())[0] == {"cells": newest}
    assert index.current_cids(["cells"]) == [newest.cid]
    assert list(index.names()) == ["cells"]
    assert sorted(entry.cid for entry in index.entries) == sorted(entry.cid for entry in left)


def test_a_deletion_takes_every_name_of_the_data(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry]
):
    entry = keep("cells")
    keep("copy of cells")
    keep("other", "b.tar")
    client.delete(key_of(entry))
    assert list(index.names()) == ["other"]
    assert [each.name for each in index.list_datasets()] == ["other"]


@pytest.mark.parametrize("added", ["d", "b", "A"], ids=["after them", "one of them", "before them"])
def test_names_that_a_deletion_took_stay_gone_when_one_name_is_added_with_the_same_data(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry], added: str
):
    for name in "cab":
        entry = keep(name)
    client.delete(key_of(entry))
    _, position = index.news(Position())
    keep(added)
    gone = [name for name in "abc" if name != added]
    assert [each.name for each in index.list_datasets()] == [added]
    assert [each.name for each in index.all_entries] == [added]
    assert index.current_cids([added, *gone]) == [entry.cid, *[None] * len(gone)]
    assert list(index.names()) == [added]
    for since in (Position(), Position("0-0"), position):
        assert index.news(since)[0].keys() == {added}
    assert [name for name in "abcdA" if index.was_deleted(name, entry.cid)] == gone
    for name in gone:
        for look in (index.get_entry_by_name, index.removal_of, index.remove):
            with pytest.raises(EntryNotFoundError):
                look(name)
    keep("e")
    assert index.remove(added).entries == (entry.cid,)
    assert list(index.names()) == ["e"]
    index.remove("e")
    assert list(index.names()) == []


def test_a_deletion_takes_what_another_program_inserted_whoever_inserts_the_same_data_then(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry]
):
    cid = write_as_upstream(client, "theirs", "a.tar")
    keep("ours")
    assert list(index.names()) == ["ours", "theirs"]
    client.delete(f"LocalDatasetEntry:{cid}")
    keep("ours anew")
    assert list(index.names()) == ["ours anew"]
    client.delete(f"LocalDatasetEntry:{cid}")
    for names in (["theirs"], ["theirs", "theirs anew"]):
        _, position = index.news(Position())
        write_as_upstream(client, names[-1], "a.tar")
        assert list(index.names()) == names
        assert names[-1] in index.news(position, names=1)[0]
    keep("ours")
    assert list(index.names()) == ["ours", *names]


def test_names_of_an_older_build_are_there_beside_those_of_this_one(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry]
):
    entry = keep("of an older build")
    client.hdel("atdata:dataset:of an older build", f"born:{entry.cid}")
    client.hdel(key_of(entry), "atdata:born")
    before = everything(client)
    assert list(index.names()) == ["of an older build"]
    assert everything(client) == before
    keep("of this one")
    assert list(index.names()) == ["of an older build", "of this one"]
    assert index.remove("of this one").entries == (entry.cid,)
    assert index.list_datasets() == [entry]


def test_an_insertion_costs_one_round_trip_beside_the_look_whether_all_was_scanned(
    index: LocalIndex, keep: Callable[..., LocalDatasetEntry], round_trips: RoundTrips
):
    keep("a")
    list(index.names())
    assert round_trips.of(lambda: keep("b")) == 2


def test_what_is_deleted_and_inserted_again_is_there_again(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry]
):
    keep("a", "first.tar")
    entry = keep("cells")
    _, position = index.news(Position())
    client.delete(key_of(entry))
    assert keep("cells") == entry == index.get_entry_by_name("cells")
    assert index.news(position, names=1)[0].keys() == {"a", "cells"}
    assert not index.was_deleted("cells", entry.cid)


@pytest.mark.parametrize(
    "metadata", [None, {"license": "CC0-1.0"}], ids=["without metadata", "with other metadata"]
)
def test_what_another_program_inserts_again_has_the_metadata_that_it_was_given_then(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry], metadata: Any
):
    entry = keep("cells", metadata={"license": "MIT"})
    client.delete(key_of(entry))
    more = {} if metadata is None else {"metadata": msgpack.packb(metadata)}
    assert write_as_upstream(client, "cells", "a.tar", **more) == entry.cid
    assert index.get_entry_by_name("cells").metadata == metadata
    assert set(index.news(Position())[0]) == {"cells"}


def test_a_deletion_and_a_new_entry_of_another_program_make_that_one_the_names(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry]
):
    keep("cells", "older.tar")
    client.delete(key_of(keep("cells")))
    theirs = write_as_upstream(client, "cells", "theirs.tar")
    assert index.list_datasets()[0].cid == theirs == index.get_entry_by_name("cells").cid


def test_an_entry_inserted_again_makes_a_new_claim_on_its_shards(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry]
):
    entry = keep("cells")
    client.delete(key_of(entry))
    index.register(LocalDatasetEntry("another name", REF, ["a.tar"]))
    assert index.shard_claims(entry.cid) == {}


def test_looking_at_deleted_entries_writes_nothing(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry]
):
    client.delete(key_of(keep("cells")))
    keep("kept", "b.tar")
    list(index.entries)
    before = everything(client)
    for look in (index.get_entry_by_name, index.get_dataset, index.removal_of, index.remove):
        with pytest.raises(EntryNotFoundError):
            look("cells")
    _ = list(index.names()), index.list_datasets(), index.all_entries, index.news(Position())
    assert everything(client) == before


def test_a_look_by_name_costs_one_round_trip_where_the_newest_entry_was_deleted(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry], round_trips: RoundTrips
):
    older = keep("cells", "older.tar")
    client.delete(key_of(keep("cells")))
    assert round_trips.of(lambda: index.get_entry_by_name("cells")) == 1
    assert round_trips.of(lambda: index.current_cids(["cells"] * 100)) == 1
    assert index.get_entry_by_name("cells") == older


def test_removing_takes_all_that_stands_of_a_name(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry]
):
    kept = keep("kept", "kept.tar")
    client.hset("Label:kept@1.0.0", mapping={"cid": kept.cid, "name": "kept", "version": "1.0.0"})
    list(index.entries)
    before = everything(client)
    versions = [keep("cells", url) for url in ("a.tar", "b.tar")]
    client.hset("Label:cells@1.0.0", mapping={"cid": versions[0].cid, "name": "cells", "version": "1.0.0"})
    theirs = write_as_upstream(client, "cells", "theirs.tar")

    planned = index.removal_of("cells")
    assert (planned.name, planned.published) == ("cells", ())
    assert sorted(planned.entries) == sorted([*(entry.cid for entry in versions), theirs])
    assert index.get_entry_by_name("cells")

    assert index.remove("cells") == planned
    left = everything(client)
    changed = {key for key in left.keys() | before.keys() if left.get(key) != before.get(key)}
    assert changed == {b"atdata:events", b"atdata:removed"}
    for cid in planned.entries:
        with pytest.raises(EntryNotFoundError):
            index.get_entry(cid)
        assert index.was_deleted("cells", cid)
    assert list(index.names()) == ["kept"]
    with pytest.raises(EntryNotFoundError):
        index.get_entry_by_name("cells")


@pytest.mark.parametrize("written_last", ["removed", "left"])
def test_removing_one_name_of_the_same_data_leaves_the_other(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry], written_last: str
):
    names = ["left", "removed"] if written_last == "removed" else ["removed", "left"]
    entry, _ = [keep(name, metadata={"of": name}) for name in names]
    assert index.remove("removed").entries == (entry.cid,)
    [left] = index.list_datasets()
    assert (left.name, left.metadata) == ("left", {"of": "left"})
    assert index.get_entry(entry.cid).name == "left"
    assert index.shard_claims(entry.cid) == {"a.tar": CLAIM}
    assert client.hget(key_of(entry), "name") == b"left"
    assert msgpack.unpackb(client.hget(key_of(entry), "metadata")) == {"of": "left"}
    assert (index.was_deleted("removed", entry.cid), index.was_deleted("left", entry.cid)) == (True, False)
    with pytest.raises(EntryNotFoundError):
        index.get_entry_by_name("removed")


def test_a_label_that_names_another_datasets_entry_stays(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry]
):
    keep("cells")
    other = keep("other", "b.tar")
    client.hset("Label:cells@", mapping={"cid": other.cid, "name": "cells", "version": ""})
    index.remove("cells")
    assert client.hget("Label:cells@", "cid") == other.cid.encode()


def test_what_is_removed_can_be_inserted_again(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry]
):
    first = keep("a", "first.tar")
    entry = keep("cells")
    _, position = index.news(Position())
    index.remove("cells")
    assert index.news(position)[0] == {"a": first}
    write_as_upstream(client, "cells", "a.tar")
    assert index.list_datasets() == [first, entry]
    assert index.news(position, names=1)[0] == {"a": first, "cells": entry}
    assert not index.was_deleted("cells", entry.cid)
    index.remove("cells")
    assert keep("cells") == index.get_entry_by_name("cells")


def test_a_name_that_is_not_there_is_refused_with_those_near_it(
    index: LocalIndex, keep: Callable[..., LocalDatasetEntry]
):
    keep("cells")
    for call in (index.remove, index.removal_of):
        with pytest.raises(EntryNotFoundError, match=r"no dataset 'celsl'.*Near it: cells\."):
            call("celsl")
    assert issubclass(EntryNotFoundError, KeyError)


def test_a_removal_starts_over_where_somebody_inserts_meanwhile(
    index: LocalIndex, client: Any, keep: Callable[..., LocalDatasetEntry]
):
    entry = keep("cells")
    plain, met = client.eval, []

    class Late:
        """A rival inserts the same data under another name between this one's look and its removal."""

        def eval(self, script: str, *arguments: Any) -> Any:
            if "ZREM" in script and not met:
                met.append(keep("rival", metadata={"of": "rival"}))
            return plain(script, *arguments)

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

    assert LocalIndex(Late()).remove("cells").entries == (entry.cid,)
    assert met == index.list_datasets()
    assert index.get_entry(entry.cid).metadata == {"of": "rival"}


def test_one_name_among_very_many_is_removed(crowd: Callable[[int], Any], round_trips: RoundTrips):
    index = LocalIndex(crowd(5_500))
    index.register(LocalDatasetEntry("shared", REF, ["s3://b/shared.tar"]))
    index.register(LocalDatasetEntry("zzz", REF, ["s3://b/shared.tar"], {"of": "zzz"}))
    # All keys are looked at for other programs' entries, and for labels of versions; all names for the same data.
    assert round_trips.of(lambda: index.remove("shared")) < 100
    assert index.get_entry_by_name("zzz").metadata == {"of": "zzz"}
    assert len(list(index.names())) == 5_501
