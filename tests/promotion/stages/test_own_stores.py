"""Data stores of other people's making take part in a promotion."""

import pytest

from atdata_core.atmosphere import AtmosphereIndex
from atdata_core.common.urls import expand
from atdata_core.promote import plan_promotion, promote_to_atmosphere
from own_stores import CopyingStore, DerivedStore, FolderStore, ProvingStore


def test_a_store_of_ones_own_gets_the_samples_and_is_read_back(lab, atmosphere, tmp_path):
    entry = lab.insert("points")
    store = FolderStore(tmp_path / "www", "https://data.example.org")
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    record = atmosphere.client.get_record(uri).value
    assert record["storage"]["$type"].endswith("storageHttp")
    assert record["size"]["samples"] == 15
    assert record["size"]["shards"] == 4
    commit = atmosphere.commit
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store) == uri
    assert atmosphere.commit == commit


def test_two_stores_of_one_class_are_two_destinations(lab, atmosphere, tmp_path):
    entry = lab.insert("points")
    for place in ("a", "b"):
        store = FolderStore(tmp_path / place, f"https://{place}.example.org")
        uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
        urls = AtmosphereIndex(atmosphere.client).get_dataset(uri).data_urls
        assert all(url.startswith(f"https://{place}.example.org/") for url in urls)


def test_a_plan_with_a_store_of_ones_own_knows_what_is_there(lab, atmosphere, tmp_path):
    entry = lab.insert("points")
    store = FolderStore(tmp_path / "www", "https://data.example.org")
    before = plan_promotion(entry, lab.index, atmosphere.client, data_store=store)
    assert (before.entry, len(before.warnings)) == ("create", 1)
    promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    after = plan_promotion(entry, lab.index, atmosphere.client, data_store=store)
    assert (after.records, after.copies) == (0, ())


class Garbling(FolderStore):
    """Writes as many samples as it got, but others."""

    def write_shards(self, ds, *, prefix):
        from atdata_core.shards.tar_samples import ShardWriter

        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "x.tar").open("wb") as file, ShardWriter(file) as shard:
            for number, _ in enumerate(ds.ordered()):
                shard.write({"__key__": f"{number}", "msgpack": b"\xc1garbage"})
        return [f"{self.url}/x.tar"]


class Staying(FolderStore):
    """Says where its files are on this machine."""

    def write_shards(self, ds, *, prefix):
        return [super(Staying, self).read_url(url) for url in super().write_shards(ds, prefix=prefix)]

    def read_url(self, url):
        return url


@pytest.mark.parametrize(("kind", "words"), [(Garbling, "x.tar"), (Staying, "0.tar.*data.store")])
def test_what_a_store_of_ones_own_cannot_stand_for_is_not_published(lab, atmosphere, tmp_path, kind, words):
    entry = lab.insert("points")
    with pytest.raises(ValueError, match=words):
        promote_to_atmosphere(
            entry, lab.index, atmosphere.client, data_store=kind(tmp_path / "www", "https://data.example.org")
        )
    assert atmosphere.counts == [0, 0, 0]


@pytest.mark.parametrize("kind", [CopyingStore, ProvingStore, DerivedStore])
def test_a_store_of_ones_own_that_takes_copies_gets_the_very_bytes(lab, atmosphere, tmp_path, kind):
    entry = lab.insert("points")
    store = kind(tmp_path / "www", "https://data.example.org")
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    urls = AtmosphereIndex(atmosphere.client).get_dataset(uri).data_urls
    for url, source in zip(expand(urls), expand(entry.data_urls), strict=True):
        assert url.startswith(f"https://data.example.org/promoted/points/{entry.cid}/")
        with open(store.read_url(url), "rb") as copy, lab.repo.data_store.open_shard(source) as shard:
            assert copy.read() == shard.read()
    commit = atmosphere.commit
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store) == uri
    assert atmosphere.commit == commit
