"""Names of published datasets, and the labels that they are resolved by, on a real PDS."""

import pytest

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
    described = {each.uri: each for each in describe_all(did, stranger.client)}
    assert {uri: each.current for uri, each in described.items()} == current
    assert [described[uri].version for uri in (old, new, by_handle, before)] == ["1.0.0", "2.0.0", None, None]
    for uri in (new, by_handle):
        assert stranger.get_dataset(described[uri].where).uri == uri
