"""Lenses: samples of one type seen, and changed, as those of another."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.errors import LensNotFoundError, RefusedError, SampleError
from atdata_core.local import LocalIndex, Repo
from atdata_core.shards.tar_samples import ShardWriter


@atdata.packable
class Plant:
    name: str
    height: float
    picture: NDArray[np.uint8]


@atdata.packable
class Named:
    name: str


@atdata.packable
class Initial:
    letter: str


@atdata.lens
def named(plant: Plant) -> Named:
    """The name of a plant."""
    return Named(name=plant.name)


@named.putter
def put_name(view: Named, plant: Plant) -> Plant:
    return Plant(name=view.name, height=plant.height, picture=plant.picture)


@atdata.lens
def initial(view: Named) -> Initial:
    return Initial(letter=view.name[:1])


def plant(name: str) -> Plant:
    return Plant(name=name, height=1.5, picture=np.zeros((2, 2), np.uint8))


@pytest.fixture
def plants(tmp_path: Path) -> atdata.Dataset[Plant]:
    with (tmp_path / "plants.tar").open("wb") as stream, ShardWriter(stream) as writer:
        for name in ("fern", "moss", "oak"):
            writer.write(plant(name).as_wds)
    return atdata.Dataset[Plant](f"{tmp_path}/plants.tar")


def test_what_webdataset_read_is_wrapped_as_the_view(plants: atdata.Dataset[Plant]):
    seen = plants.as_type(Named)
    assert seen.wrap(plant("elm").as_wds) == Named(name="elm")
    assert seen.wrap_batch({"msgpack": [plant("elm").packed]}).samples == [Named(name="elm")]


@given(st.text(), st.lists(st.builds(Named, name=st.text()), max_size=3))
def test_a_well_behaved_lens_breaks_no_law(name: str, views: list[Named]):
    assert named.broken_laws(plant(name), views) == []


def test_the_laws_that_a_lens_breaks_are_named():
    def loud(source: Plant) -> Named:
        return Named(name=source.name.upper())

    shouting = atdata.Lens(loud, put_name)
    assert shouting.broken_laws(plant("fern"), [Named(name="moss")]) == ["GetPut", "PutGet"]
    heap = atdata.Lens(loud, lambda view, source: plant(source.name + view.name))
    assert heap.broken_laws(plant("A"), [Named(name="B"), Named(name="C")]) == ["GetPut", "PutGet", "PutPut"]


def test_a_lens_without_a_putter_changes_nothing():
    assert initial.put(Initial(letter="x"), Named(name="fern")) == Named(name="fern")
    assert named.put(v=Named(name="oak"), s=plant("fern")) == plant("oak")
    assert atdata.LensNetwork() is atdata.LensNetwork()
    assert initial.broken_laws(Named(name="fern"), [Initial(letter="x")]) == ["PutGet"]


def test_a_lens_is_called_like_its_getter_and_keeps_its_name():
    assert named(plant("fern")) == named.get(plant("fern")) == Named(name="fern")
    assert (named.source_type, named.view_type) == (Plant, Named)
    assert (named.__name__, named.__doc__) == ("named", "The name of a plant.")


def test_types_may_be_local_and_annotations_texts():
    @atdata.packable
    class Here:
        n: int

    @atdata.lens
    def counted(here: "Here") -> "Named":
        return Named(name=str(here.n))

    assert atdata.LensNetwork().transform(Here, Named) is counted


def test_the_last_lens_between_two_types_counts():
    @atdata.packable
    class Once:
        n: int

    def first(source: Once) -> Named:
        return Named(name="first")

    def second(source: Once) -> Named:
        return Named(name="second")

    atdata.lens(first)
    assert atdata.LensNetwork().transform(Once, Named) is not atdata.lens(second)(Once(n=1))
    assert atdata.LensNetwork().transform(Once, Named)(Once(n=1)) == Named(name="second")


@pytest.mark.parametrize(
    ("getter", "why"),
    [
        (lambda: 1, "exactly one parameter"),
        (lambda one, two: 1, "exactly one parameter"),
        (lambda one: 1, "does not say between which types"),
    ],
)
def test_a_getter_that_is_none_is_refused(getter, why: str):
    with pytest.raises(RefusedError, match=why):
        atdata.Lens(getter)


def test_a_getter_whose_types_are_not_there_is_refused():
    def lost(source: "Nowhere") -> Named:  # type: ignore[name-defined]  # noqa: F821
        return Named(name="")

    with pytest.raises(RefusedError, match="Nowhere"):
        atdata.lens(lost)


def test_a_dataset_is_seen_as_another_type(plants: atdata.Dataset[Plant]):
    seen = plants.as_type(Named)
    assert seen.sample_type is Named
    assert [sample.name for sample in seen] == ["fern", "moss", "oak"]
    batches = list(seen.ordered(batch_size=2))
    assert [batch.name for batch in batches] == [["fern", "moss"], ["oak"]]
    assert batches[0].sample_type is Named
    assert {sample.name for sample in seen.shuffled(seed=1)} == {"fern", "moss", "oak"}
    assert [sample.letter for sample in seen.as_type(Initial)] == ["f", "m", "o"]
    assert plants.sample_type is Plant


def test_a_view_goes_to_workers_by_the_name_of_its_lens(plants: atdata.Dataset[Plant]):
    seen = pickle.loads(pickle.dumps(plants.as_type(Named)))
    assert [sample.name for sample in seen] == ["fern", "moss", "oak"]
    assert pickle.loads(pickle.dumps(named)) is named


def test_without_a_lens_there_is_no_view(plants: atdata.Dataset[Plant]):
    with pytest.raises(LensNotFoundError, match=r"No registered lens from Plant to Initial\. Write one"):
        plants.as_type(Initial)


def test_a_getter_that_gives_another_type_is_refused_when_samples_are_read(tmp_path, plants):
    @atdata.packable
    class Wanted:
        name: str

    @atdata.lens
    def wrong(source: Plant) -> Wanted:
        return Named(name=source.name)  # type: ignore[return-value]

    with pytest.raises(SampleError, match="The lens to Wanted gave a Named"):
        list(plants.as_type(Wanted))


def test_an_entry_never_names_shards_that_hold_another_type(plants, redis_url: str):
    index = LocalIndex(redis_url)
    with pytest.raises(RefusedError, match="hold Plant, which a lens shows as Named"):
        index.add_entry(plants.as_type(Named), name="plants")
    assert index.list_datasets() == []


def test_what_a_view_shows_is_stored_as_it_is_seen(plants, s3, bucket: str, redis_url: str):
    repo = Repo(s3_credentials=s3, hive_path=f"{bucket}/views", redis=redis_url)
    entry, stored = repo.insert(plants.as_type(Named), name="names", metadata={"of": "plants"})
    assert stored.sample_type is stored.stored_type is Named
    assert [sample.name for sample in stored] == ["fern", "moss", "oak"]
    assert entry.metadata == stored.metadata == {"of": "plants"}
    assert entry.schema_ref == f"local://schemas/{Named.__module__}.Named@1.0.0"
