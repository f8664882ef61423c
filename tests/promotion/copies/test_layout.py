"""Where copies lie is spelled in one place, and all that rests on it follows."""

from types import SimpleNamespace

import pytest

from atdata_core.atmosphere import AtmosphereIndex
from atdata_core.promotion.copies import layout
from atdata_core.promotion.copies.usage import end_use, in_use
from atdata_core.state.index_state import state_of
from atdata_core.state.lease import Leases


def test_copying_protection_and_retraction_follow_where_copies_lie(
    lab, atmosphere, publish, store, take_back, list_keys, monkeypatch
):
    monkeypatch.setattr(layout, "FOLDER", "shared/by-entry/{entry}/of/{dataset}")
    entry = lab.insert("points")
    uri = publish(entry, data_store=store)
    folder = f"shared/by-entry/{entry.cid}/of/points/"
    assert len(list_keys(store.bucket)) == 3
    assert all(key.removeprefix(f"{store.prefix}/").startswith(folder) for key in list_keys(store.bucket))
    for url in AtmosphereIndex(atmosphere.client).get_dataset(uri).data_urls:
        assert layout.copied_as(url) == ("points", entry.cid)

    ledger = state_of(lab.index).ledger
    with in_use(ledger, Leases(), entry.cid, "a run"):
        kept = take_back("points", store=store, shards=True)[1].kept
    assert [("a promotion under way since 20" in reason) for reason in kept] == [True] * 3
    assert len(list_keys(store.bucket)) == 3

    end_use(ledger, entry.cid, "a run")
    assert take_back("points", store=store, shards=True)[1].kept == ()
    assert list_keys(store.bucket) == []


def test_copies_keep_their_file_names_and_grow_only_where_they_clash():
    assert layout.tails(["s3://b/x/0.tar", "s3://b/x/1.tar"]) == ["0.tar", "1.tar"]
    assert layout.tails(["s3://b/train/0.tar", "s3://b/test/0.tar", "s3://b/test/1.tar"]) == [
        "train/0.tar",
        "test/0.tar",
        "1.tar",
    ]


IDS = [
    "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWkuPbC",
    "42",
    "at://did:plc:a/b/{1,2} 7%",
]
"""Of entries of indexes of people's own making; the first ends as a folder of a second claim does."""


@pytest.mark.parametrize("of_entry", IDS)
def test_copies_of_an_entry_with_an_id_of_any_form_are_protected_and_removed(
    lab, publish, store, take_back, list_keys, of_entry
):
    own = lab.insert("group/points")
    entry = SimpleNamespace(
        name=own.name, schema_ref=own.schema_ref, data_urls=own.data_urls, metadata=None, cid=of_entry
    )
    publish(entry, data_store=store)
    assert [
        layout.entry_key(of_entry) in layout.entries_at(store.shard_url(key)) for key in list_keys(store.bucket)
    ] == [True] * 3

    ledger = state_of(lab.index).ledger
    with in_use(ledger, Leases(), of_entry, "a run"):
        kept = take_back(own.name, store=store, shards=True)[1].kept
    assert [("a promotion under way since 20" in reason) for reason in kept] == [True] * 3

    end_use(ledger, of_entry, "a run")
    assert take_back(own.name, store=store, shards=True)[1].kept == ()
    assert list_keys(store.bucket) == []


def test_an_id_of_any_form_is_read_where_the_name_of_its_dataset_has_no_slash():
    of_entry = IDS[0]
    assert layout.copied_as(f"https://data.example/open/promoted/points/{of_entry}/0.tar") == ("points", of_entry)
    assert layout.copied_as(f"s3://open/promoted/points/{of_entry}/run=1/0.tar") == ("points", of_entry)
    assert layout.copied_as("s3://open/points/0.tar") is None
