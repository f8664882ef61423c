"""Names of published datasets, and the labels that they are resolved by, on a real PDS."""

import pytest

from atdata_core.atmosphere.labels import find_label
from atdata_core.atmosphere.listings import Record
from atdata_core.atmosphere.record_format.build import entry_record
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, identity_tid, label_rkey, new_tid
from atdata_core.describing import describe_all
from atdata_core.errors import EntryNotFoundError, RecordNotFoundError, RefusedError


@pytest.fixture
def entry(index, facts):
    """Publish an entry that differs in its description; its at-uri."""

    def make(name, description):
        record = entry_record(
            name=name, schema_uri=f"at://{index.client.did}/a.b.c/d", shards=[facts()], description=description,
            tags=None, license=None, metadata=None, created_at="2026-01-01T00:00:00.000Z",
        )  # fmt: skip
        return str(index.client.put_record(ENTRY, identity_tid(name, description), record))

    return make


@pytest.fixture
def label(index):
    """Publish a label; ``ours`` with the key that this program gives it."""

    def make(name, uri, version=None, *, ours=True, created="2026-01-01T00:00:00.000Z"):
        record = {"$type": LABEL, "name": name, "datasetUri": uri, "createdAt": created}
        rkey = label_rkey(index.client.did, name, version) if ours else new_tid()
        index.client.put_record(LABEL, rkey, record if version is None else {**record, "version": version})

    return make


def test_every_way_to_write_a_published_dataset_leads_to_it(index, stranger, entry, label):
    old, new, odd = entry("lab/cells", "old"), entry("lab/cells", "new"), entry("me@home", "odd")
    label("lab/cells", new)
    label("lab/cells", old, "1.0.0")
    label("me@home", odd)
    did, handle = index.client.did, index.client.handle
    for where in (
        new,
        new.replace(did, handle),
        f"@{handle}/lab/cells",
        f"@{did}/lab/cells",
        f"{handle}/lab/cells",
    ):
        assert stranger.get_dataset(where).uri == new
    assert stranger.get_dataset(f"@{handle}/lab/cells@1.0.0").uri == old
    assert stranger.get_dataset(f"@{handle}/me@home").uri == odd


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "another program's"])
def test_a_version_of_a_name_that_has_no_other_label_is_found_and_the_newest_counts(
    index, stranger, entry, label, ours
):
    uris = {version: entry("cells", version) for version in ("1.0.0", "1.1.0", "0.9.0")}
    for day, (version, uri) in enumerate(uris.items(), 1):
        label("cells", uri, version, ours=ours, created=f"2026-01-{day:02d}T00:00:00.000Z")
    where = f"@{index.client.did}/cells"
    assert {version: stranger.get_dataset(f"{where}@{version}").uri for version in uris} == uris
    assert stranger.get_dataset(where).uri == uris["0.9.0"]


def test_a_name_that_is_not_there_names_near_ones_and_versions(index, stranger, entry, label):
    label("cells", entry("cells", "x"))
    label("cells", entry("cells", "y"), "1.0.0")
    with pytest.raises(EntryNotFoundError, match=r"under the name 'cels'\. Near it: cells, cells@1.0.0\."):
        stranger.get_dataset(f"@{index.client.handle}/cels")
    with pytest.raises(KeyError, match=r"under the name 'cells@2.0.0'\. Near it: cells@1.0.0"):
        stranger.get_dataset(f"@{index.client.handle}/cells@2.0.0")
    with pytest.raises(RecordNotFoundError, match="No account has the handle"):
        stranger.get_dataset("@nobody.test/cells")
    for nothing in ("cells", "@cells", "@nobody/cells", f"@{index.client.handle}/"):
        with pytest.raises(RefusedError, match="Write @handle/name"):
            stranger.get_dataset(nothing)


def test_a_listing_tells_the_current_entry_of_a_name_from_older_ones(index, stranger, entry, label):
    old, new, alone = entry("cells", "old"), entry("cells", "new"), entry("alone", "unlabelled")
    label("cells", new)
    label("cells", old, "1.0.0")
    found = {each.uri: each.current for each in stranger.list_datasets(index.client.handle)}
    assert found == {old: False, new: True, alone: None}


def test_listing_description_and_name_agree_on_the_current_entry(index, stranger, entry, label):
    did, handle = index.client.did, index.client.handle
    old, new = entry("versioned", "1"), entry("versioned", "2")
    label("versioned", old, "1.0.0", created="2026-01-01T00:00:00.000Z")
    label("versioned", new, "2.0.0", created="2026-02-01T00:00:00.000Z", ours=False)
    by_handle, before = entry("by handle", "now"), entry("by handle", "before")
    label("by handle", by_handle.replace(did, handle))
    label("by handle", before.replace(did, "nobody.test"), "1.0.0")
    nowhere = entry("nowhere", "x")
    index.client.put_record(LABEL, new_tid(), {"$type": LABEL, "name": "nowhere", "createdAt": ""})
    current = {old: False, new: True, by_handle: True, before: False, nowhere: None}
    assert {each.uri: each.current for each in stranger.list_datasets(did)} == current
    described = {each.uri: each for _, each in describe_all(did, stranger.client)}
    assert {uri: each.current for uri, each in described.items()} == current
    assert [described[uri].version for uri in (old, new, by_handle, before)] == ["1.0.0", "2.0.0", None, None]
    for uri in (new, by_handle):
        assert stranger.get_dataset(described[uri].where).uri == uri


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.500Z"),
        ("2026-01-02T01:00:00+14:00", "2026-01-01T20:00:00Z"),
        (None, "2026-01-01T00:00:00Z"),
        ("yesterday", "2026-01-01T00:00:00Z"),
        ("2026-13-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        (["z"], "1970-01-01T00:00:00Z"),
    ],
)
def test_the_newest_label_is_the_one_of_the_latest_moment(index, stranger, entry, older, newer):
    uris = [entry("cells", "older"), entry("cells", "newer")]
    for version, (uri, created) in enumerate(zip(uris, (older, newer), strict=True)):
        record = {"$type": LABEL, "name": "cells", "version": f"{version}.0.0", "datasetUri": uri}
        record |= {} if created is None else {"createdAt": created}
        # The key of the older one comes last.
        index.client.put_record(LABEL, "3zzzzzzzzzzz2" if version == 0 else new_tid(), record, validate=False)
    assert stranger.get_dataset(f"@{index.client.did}/cells").uri == uris[1]


def test_of_two_records_of_one_moment_the_newest_has_the_later_key():
    made = [
        Record(f"at://did:plc:a/{LABEL}/{key}", "", {"createdAt": said})
        for key, said in (("3b", "2026-01-01T02:00:00+02:00"), ("3a", "2026-01-01T00:00:00.000Z"), ("3c", None))
    ]
    assert [each.uri[-1] for each in sorted(made, key=lambda record: record.created)] == ["c", "a", "b"]


@pytest.mark.parametrize("junk", ["not-a-uri", "", "at://", "at://did:plc:abc", "https://e.org/x/y"])
def test_a_label_that_points_nowhere_hides_none_that_does(index, stranger, entry, junk):
    uri = entry("cells", "good")
    record = {"$type": LABEL, "name": "cells", "createdAt": "2026-01-01T00:00:00.000Z"}
    keys = sorted(new_tid() for _ in range(3))
    # Whichever is listed first; and one has the key that this program would give it.
    for key, target in (*zip(keys, (junk, uri, junk), strict=True), (label_rkey(index.client.did, "cells"), junk)):
        index.client.put_record(LABEL, key, {**record, "datasetUri": target}, validate=False)
    assert stranger.get_dataset(f"@{index.client.did}/cells").uri == uri
    assert [each.current for each in stranger.list_datasets(index.client.did)] == [True]
    assert find_label(index.client, index.client.did, "cells").get("datasetUri") == uri
