"""Splits that the names of a dataset's own shards tell are those of its copies, whatever these are called."""

import pytest

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereIndex, PDSBlobStore
from atdata_core.local import S3DataStore
from atdata_core.promote import plan_promotion, promote_to_atmosphere
from atdata_core.promotion.copies import layout
from atdata_core.promotion.operations.reconcile import reconcile
from atdata_core.promotion.scheduling.due import due
from atdata_core.state.index_state import state_of
from own_stores import CopyingStore, FolderStore

FILES = ("train-000.tar", "train-001.tar", "test-000.tar")
FOLDERS = ("train/a.tar", "train/b.tar", "test/c.tar")
BY_NAME = {"train": ["train-*.tar"], "test": "test-000.tar"}
BY_NUMBER = {"train": [0, 1], "test": [2]}


@pytest.fixture
def insert(lab, point_type, write_tar, tmp_path):
    """Keep a dataset of shards of these names, four points in each."""

    def insert(names=FILES, metadata=None):
        paths = [tmp_path / name for name in names]
        for number, path in enumerate(paths):
            path.parent.mkdir(exist_ok=True)
            write_tar(path, start=4 * number, count=4)
        dataset = atdata.Dataset[point_type]([*map(str, paths)])
        lab.index.publish_schema(point_type, version="1.0.0")
        lab.index.add_entry(dataset, name="split", metadata=metadata)
        return lab.index.get_entry_by_name("split")

    return insert


@pytest.fixture
def store(lab, atmosphere, box, tmp_path):
    """A data store by its name."""
    made = {
        "blobs": lambda: PDSBlobStore(atmosphere.client),
        "bucket": lambda: S3DataStore(lab.s3, bucket=lab.bucket, public_url=f"{box.public_url}/{lab.bucket}"),
        "copying": lambda: CopyingStore(tmp_path / "www", "https://data.example.org/test"),
        "packing": lambda: FolderStore(tmp_path / "www", "https://data.example.org"),
    }
    return lambda kind: made[kind]()


@pytest.fixture
def promote(lab, atmosphere):
    return lambda entry, store, **asked: promote_to_atmosphere(
        entry, lab.index, atmosphere.client, data_store=store, **asked
    )


@pytest.fixture
def metadata_at(atmosphere):
    return lambda uri: AtmosphereIndex(atmosphere.client).get_dataset(uri).metadata


def labels_of(splits):
    return {name: [point.label for point in split] for name, split in splits.items()}


@pytest.mark.parametrize(("kind", "names"), [("blobs", FILES), ("blobs", FOLDERS), ("bucket", FOLDERS)])
def test_copies_are_read_in_the_splits_of_the_dataset_and_again_nothing_is_written(
    lab, atmosphere, account, insert, store, promote, metadata_at, kind, names
):
    entry = insert(names, {"by": "Ada"})
    uri = promote(entry, store(kind))
    local = labels_of(atdata.load_dataset("@local/split"))
    assert local == {"train": [*range(8)], "test": [*range(8, 12)]}
    assert labels_of(atdata.load_dataset(f"@{account.handle}/split")) == local
    assert metadata_at(uri) == {"by": "Ada", "splits": BY_NUMBER}

    commit = atmosphere.commit
    promote(entry, store(kind))
    promote(entry, None)
    assert atmosphere.commit == commit
    assert plan_promotion(entry, lab.index, atmosphere.client, data_store=store(kind)).records == 0


@pytest.mark.parametrize(
    ("kind", "names", "metadata", "published"),
    [
        ("blobs", FILES, {"splits": BY_NAME}, {"splits": BY_NUMBER}),
        ("copying", FOLDERS, {"splits": {}}, {"splits": BY_NUMBER}),
        ("blobs", FILES, {"splits": {"all": [2, 0, 1]}}, {"splits": {"all": [2, 0, 1]}}),
        ("blobs", FILES, {"splits": {"train": [7]}}, {"splits": {"train": [7]}}),
        ("blobs", ("a.tar", "b.tar"), None, None),
        ("bucket", FILES, None, None),
        ("bucket", FILES, {"splits": BY_NAME}, {"splits": BY_NAME}),
        ("packing", FILES, None, None),
    ],
)
def test_metadata_stay_as_they_are_where_they_and_the_names_of_copies_tell_as_much(
    insert, store, promote, metadata_at, kind, names, metadata, published
):
    assert metadata_at(promote(insert(names, metadata), store(kind))) == published


def test_a_record_of_an_earlier_release_is_not_rewritten_for_its_splits_alone(
    atmosphere, insert, store, promote, metadata_at, monkeypatch
):
    entry = insert()
    with monkeypatch.context() as earlier:
        earlier.setattr(layout, "keeping_splits", lambda metadata, *_: metadata)
        uri = promote(entry, store("blobs"))
    commit = atmosphere.commit
    promote(entry, store("blobs"))
    assert (atmosphere.commit, metadata_at(uri)) == (commit, None)
    promote(entry, store("blobs"), tags=["a tag"])
    assert metadata_at(uri) == {"splits": BY_NUMBER}


def test_a_ledger_that_learns_of_the_record_sees_no_other_metadata_in_it(lab, atmosphere, insert, store, promote):
    entry, ledger = insert(metadata={"by": "Ada"}), state_of(lab.index).ledger
    promote(entry, store("blobs"))
    for key in lab.index.redis.scan_iter("atdata:ledger:*"):
        lab.index.redis.delete(key)
    reconcile(lab.index, atmosphere.client, ledger)
    assert due(entry, lab.index, ledger, atmosphere.client.did).state == "published"
