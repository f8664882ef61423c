"""What every data store has to do, of whatever class; one of anybody's passes by being added to ``MADE``."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from atdata_core import Dataset, packable
from atdata_core.errors import (
    ShardChangedError,
    ShardConflictError,
    ShardCorruptError,
    ShardMissingError,
    StorageError,
)
from atdata_core.local import S3DataStore
from atdata_core.protocols import AbstractDataStore, ShardCopier, ShardFacts
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.stores.data_store import DataStore, as_data_store
from own_stores import CopyingStore, DerivedStore, FolderStore, ProvingStore

PROOFS = ("server sha256", "etag md5", "read back")


@packable
class Vector:
    """A vector and its number."""

    values: NDArray[np.float32]
    number: int


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[[], Dataset[Vector]]:
    def make() -> Dataset[Vector]:
        path = tmp_path / "source.tar"
        with path.open("wb") as stream, ShardWriter(stream) as writer:
            for number in range(5):
                sample: Any = Vector(values=np.full(4, number, np.float32), number=number)
                writer.write({"__key__": f"key-{number}", "msgpack": sample.packed})
        return Dataset[Vector](str(path))

    return make


def in_s3(credentials: str) -> Callable[[pytest.FixtureRequest], S3DataStore]:
    def make(request: pytest.FixtureRequest) -> S3DataStore:
        store = S3DataStore(
            request.getfixturevalue(credentials), bucket=f"stores-{secrets.token_hex(6)}", prefix="lab"
        )
        store.endpoint.client.create_bucket(Bucket=store.bucket)
        return store

    return make


def in_a_folder(kind: Callable[[Path, str], Any]) -> Callable[[pytest.FixtureRequest], Any]:
    return lambda request: kind(request.getfixturevalue("tmp_path") / "store", "https://data.example.org")


MADE: dict[str, Callable[[pytest.FixtureRequest], Any]] = {
    "S3 on rclone": in_s3("s3"),
    "S3 on moto": in_s3("moto_s3"),
    "three methods": in_a_folder(FolderStore),
    "and put_shard": in_a_folder(CopyingStore),
    "and prove_shard": in_a_folder(ProvingStore),
    "inherits": in_a_folder(DerivedStore),
}
WRITES = [name for name in MADE if name != "inherits"]
COPIES = [name for name in MADE if name != "three methods"]
FORESEES = [name for name in COPIES if name != "and put_shard"]
REMOVES = [name for name in FORESEES if name != "and prove_shard"]


@pytest.fixture(params=list(MADE))
def own(request: pytest.FixtureRequest) -> Any:
    """A store as somebody made it."""
    return MADE[request.param](request)


@pytest.fixture
def store(own: Any) -> DataStore:
    """The same, as promotion takes it."""
    return as_data_store(own)


def some(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("own", names, indirect=True)


def facts_of(data: bytes, *, md5: bool = True, sha256: str | None = None, size: int | None = None) -> ShardFacts:
    return ShardFacts(
        "https://elsewhere.example.org/a.tar",
        len(data) if size is None else size,
        sha256=sha256 or hashlib.sha256(data).hexdigest(),
        md5=hashlib.md5(data, usedforsecurity=False).hexdigest() if md5 else None,
    )


def put(store: DataStore, name: str, data: bytes) -> str:
    return store.put_shard(name, io.BytesIO(data), size=len(data), sha256=hashlib.sha256(data).hexdigest())


def read(store: DataStore, url: str) -> bytes:
    with store.open_shard(url) as stream:
        return stream.read()


def test_what_a_store_can_is_told_from_what_it_has(own: Any, store: DataStore, request: pytest.FixtureRequest):
    name = request.node.callspec.params["own"]
    assert isinstance(own, AbstractDataStore)
    assert store.supports_streaming() is True
    assert as_data_store(store) is store
    assert store.kind == type(own).__name__
    assert (store.takes_copies, store.foresees_copies, store.removes_copies) == (
        name in COPIES,
        name in FORESEES,
        name in REMOVES,
    )
    if not isinstance(own, DataStore):
        assert isinstance(own, ShardCopier) is store.takes_copies


@some(*WRITES)
def test_written_shards_hold_the_samples_in_order(store: DataStore, make_dataset: Callable[[], Dataset[Vector]]):
    urls = store.write_shards(make_dataset(), prefix="vectors")
    assert len(urls) == len(set(urls)) > 0
    assert [sample.number for sample in Dataset[Vector](urls, data_store=store).ordered()] == [0, 1, 2, 3, 4]


def test_what_a_store_has_not_is_refused_in_words():
    class Nothing:
        pass

    store = as_data_store(Nothing())
    with pytest.raises(StorageError, match=r"Nothing cannot take shards: .* write_shards, read_url .* put_shard"):
        store.write_shards(None, prefix="n")
    for act in (
        lambda: put(store, "a.tar", b"data"),
        lambda: store.shard_url("a.tar"),
        lambda: store.remove_shard("https://data.example.org/a.tar", size=1, sha256="0" * 64),
    ):
        with pytest.raises(StorageError, match="Nothing"):
            act()


@some(*COPIES)
def test_a_copy_is_byte_for_byte_the_same_and_proven(store: DataStore):
    data = os.urandom(100_000)
    for number, md5 in enumerate([True, False]):
        sent = store.send_shard(f"promoted/n/{number}.tar", io.BytesIO(data), facts_of(data, md5=md5))
        assert sent.proof in PROOFS
        assert read(store, sent.url) == data
        assert store.stat_shard(sent.url).size == len(data)


@some(*COPIES)
@pytest.mark.parametrize(
    "facts",
    [
        facts_of(b"data", sha256="0" * 64),
        facts_of(b"data", size=3),
        facts_of(b"dat"),
        facts_of(b"data", size=100),
        facts_of(b""),
    ],
)
def test_bytes_that_are_not_the_recorded_ones_are_never_written(store: DataStore, facts: ShardFacts):
    for act in (
        lambda: store.send_shard("a.tar", io.BytesIO(b"data"), facts),
        lambda: store.put_shard("a.tar", io.BytesIO(b"data"), size=facts.size, sha256=facts.sha256),
    ):
        with pytest.raises(ShardChangedError, match=r"a\.tar"):
            act()
    if store.foresees_copies:
        with pytest.raises(ShardMissingError):
            store.stat_shard(store.shard_url("a.tar"))


@some(*COPIES)
def test_a_source_that_breaks_off_leaves_nothing(store: DataStore):
    class Broken(io.RawIOBase):
        def __init__(self) -> None:
            self.chunks = iter([b"x" * 1000])

        def read(self, size: int = -1, /) -> bytes:
            try:
                return next(self.chunks)
            except StopIteration:
                raise ShardCorruptError("cut short", url="source") from None

    with pytest.raises(ShardCorruptError):
        store.put_shard("a.tar", Broken(), size=2000, sha256="0" * 64)
    if store.foresees_copies:
        assert store.find_shard(store.shard_url("a.tar"), facts_of(b"x" * 2000)) is None


def test_a_store_that_keeps_other_bytes_than_it_was_sent_is_found_out(tmp_path: Path):
    class Garbling(FolderStore):
        def put_shard(self, name: str, stream: Any, *, size: int, sha256: str) -> str:
            self.folder.mkdir(parents=True)
            (self.folder / name).write_bytes(stream.read()[::-1])
            return f"{self.url}/{name}"

    class Losing(FolderStore):
        def put_shard(self, name: str, stream: Any, *, size: int, sha256: str) -> str:
            return f"{self.url}/{name}"

    for kind, error in ((Garbling, ShardConflictError), (Losing, StorageError)):
        store = as_data_store(kind(tmp_path / kind.__name__, "https://data.example.org"))
        with pytest.raises(error, match=r"a\.tar"):
            store.send_shard("a.tar", io.BytesIO(b"data"), facts_of(b"data"))


@some(*FORESEES)
def test_what_lies_there_can_be_proved(store: DataStore):
    data = b"shard" * 1000
    url = put(store, "a.tar", data)
    assert url == store.shard_url("a.tar")
    for facts in (facts_of(data), facts_of(data, md5=False)):
        assert store.prove_shard(url, size=facts.size, sha256=facts.sha256, md5=facts.md5) in PROOFS
        found = store.find_shard(url, facts)
        assert found is not None
        assert (found.url, found.proof in PROOFS) == (url, True)
        again = store.find_shard(url, facts, etag=found.etag)
        assert again is not None
        assert again.etag == found.etag
    other = store.shard_url("other.tar")
    assert store.prove_shard(other, size=1, sha256=hashlib.sha256(b"x").hexdigest()) is None
    assert store.find_shard(other, facts_of(b"x")) is None
    store.require_place()


@some(*FORESEES)
def test_other_bytes_in_its_place_are_a_conflict_and_stay(store: DataStore):
    url = put(store, "a.tar", b"first")
    for other in (b"other", b"longer than that"):
        for act in (lambda o=other: put(store, "a.tar", o), lambda o=other: store.find_shard(url, facts_of(o))):
            with pytest.raises(ShardConflictError, match=r"a\.tar"):
                act()
    assert read(store, url) == b"first"


@some(*FORESEES)
def test_the_same_copy_once_more_is_no_write(store: DataStore):
    first = put(store, "a.tar", b"first")

    class Unread(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            raise AssertionError("the bytes are there already")

    assert store.put_shard("a.tar", Unread(), size=5, sha256=facts_of(b"first").sha256) == first


@some(*FORESEES)
def test_a_folder_is_called_empty_only_where_it_is(store: DataStore):
    put(store, "full/a.tar", b"data")
    assert store.is_empty("full") is False


@some(*REMOVES)
def test_a_copy_is_told_from_others_and_removed_unless_it_is_another(store: DataStore):
    url = put(store, "n/a.tar", b"data")
    endpoint = None if store.service is None else store.service.endpoint_url
    assert store.shard_name(url, endpoint=endpoint) == "n/a.tar"
    assert store.shard_name("https://elsewhere.example.org/n/a.tar") is None
    known = {"size": 4, "sha256": facts_of(b"data").sha256}
    with pytest.raises(ShardConflictError):
        store.remove_shard(url, size=4, sha256=facts_of(b"atad").sha256)
    assert read(store, url) == b"data"
    assert [store.remove_shard(url, **known), store.remove_shard(url, **known)] == [True, False]
    assert store.find_shard(url, facts_of(b"data")) is None


@some(*COPIES)
def test_a_shard_that_is_missing_is_named(store: DataStore):
    url = put(store, "nothing.tar", b"data").replace("nothing", "nothing-more")
    for look in (store.open_shard, store.stat_shard):
        with pytest.raises(ShardMissingError, match=r"nothing-more\.tar"):
            look(url)


@some(*COPIES)
def test_a_store_goes_to_another_process(store: DataStore):
    url = put(store, "a.tar", b"data")
    assert read(pickle.loads(pickle.dumps(store)), url) == b"data"


def test_a_destination_is_known_again(own: Any, store: DataStore, request: pytest.FixtureRequest):
    assert as_data_store(own).destination == store.destination
    if isinstance(own, DataStore):
        assert pickle.loads(pickle.dumps(store)).destination == store.destination
    another = MADE[request.node.callspec.params["own"]](request)
    assert (as_data_store(another).destination == store.destination) is isinstance(own, DerivedStore)


def test_a_store_of_ones_own_may_name_its_destination(tmp_path: Path):
    store: Any = FolderStore(tmp_path, "https://data.example.org")
    store.destination = "the lab's shelf"
    assert as_data_store(store).destination == "own_stores.FolderStore the lab's shelf"
