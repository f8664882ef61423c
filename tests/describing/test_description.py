"""What is known of a published dataset, by anybody."""

import json

import pytest

from atdata_core.atmosphere import AtmosphereIndex
from atdata_core.describing import FORMATS, describe, describe_all, schema_org
from atdata_core.errors import ServiceUnavailableError, StorageError


def test_a_dataset_is_described_by_anybody_with_all_that_its_record_schema_and_labels_tell(publish, anybody):
    published = publish()
    found = describe(published.uris["pictures"], anybody)
    assert (found.did, found.handle, found.where) == (published.did, published.handle, f"@{found.handle}/pictures")
    assert (found.version, found.samples, found.bytes) == ("2.1.0", 100, 30_720)
    assert found.license_address == "https://spdx.org/licenses/CC-BY-4.0"
    assert [str(each) for each in found.creators] == [
        "Ada {Lovelace} & <b>Söhne</b> <0000-0002-1825-0097>",
        "Blaise O'Pascal, jr.",
    ]
    assert (found.doi, found.language) == ("10.5281/zenodo.1234567", ("en", "de-CH"))
    assert found.keywords == ("a, b", "<b>", "k & <i>", "50 % {x}")
    image, label = found.fields
    assert (image.type, image.dtype, found.shape_of(image)) == ("ndarray[uint8]", "uint8", (None, 32, 3))
    assert image.description == "RGB, as it came from the camera: height, width, channel."
    assert (label.type, label.description) == ("int", "What is on it.")
    assert [(shard.name, shard.size) for shard in found.shards] == [("000000.tar", 10_240), ("000001.tar", 20_480)]


def test_an_account_is_described_with_its_labels_and_schemas_read_once(publish, anybody, monkeypatch):
    published = publish()
    found = {each.name: each for _, each in describe_all(published.handle, anybody)}
    assert {name: each.uri for name, each in found.items()} == published.uris
    assert found["pictures"] == describe(published.uris["pictures"], anybody)
    assert [field.type for field in found["rows"].fields] == ["str", "int", "bool", "float"]
    assert [field.description for field in found["texts"].fields][1] == "One by one."


def test_of_a_dataset_that_cannot_be_described_it_is_told_why_beside_the_others(publish, anybody, monkeypatch):
    published = publish()
    known = AtmosphereIndex.get_schema

    def of_one_no_answer(index, ref):
        if "Row" in ref:
            raise ServiceUnavailableError("https://pds.example.org cannot be reached.", service=None, status=None)
        return known(index, ref)

    monkeypatch.setattr(AtmosphereIndex, "get_schema", of_one_no_answer)
    found = {record["name"]: told for record, told in describe_all(published.did, anybody)}
    assert str(found.pop("rows")) == "https://pds.example.org cannot be reached."
    assert {name: told.name for name, told in found.items()} == {
        name: name for name in ("pictures", "texts", "recordings")
    }


def test_what_a_record_of_before_tells_in_its_metadata_is_read_by_the_same_names(publish, anybody):
    uri = publish(["pictures"], text="A text", content=None).uris["pictures"]
    entry = AtmosphereIndex(anybody).get_dataset(uri)
    assert (entry.creators, entry.doi, entry.shards[0].size, entry.samples) == ((), None, None, 100)


@pytest.mark.parametrize(
    "content",
    [{"creators": 3, "doi": [], "shardSizes": ["x"], "shapes": 1}, {"creators": [{"name": 1}, None], "doi": "x"}],
)
def test_what_another_program_wrote_in_another_form_is_left_out(publish, anybody, content):
    found = describe(publish(["pictures"], content=content).uris["pictures"], anybody)
    assert (found.creators, found.doi, found.shards[0].size, found.shapes) == ((), None, None, {})


NAMES = {
    "gopher://x/a.tar": "a.tar", "s3://b": "b", "S3://b/x/y.tar": "y.tar", "gs://b/a%20b.tar": "a b.tar",
    "hf://": "000004.tar", "http://[foo/a.tar": "000005.tar", "pipe:cat /etc/passwd": "passwd", "": "000007.tar",
    "s3://u:p@b/k.tar": "k.tar", "http://x/xrpc/com.atproto.sync.getBlob?cid=c": "c.tar",
    "http://x/xrpc/com.atproto.sync.getBlob": "000010.tar", "\x00://\u202e": "\u202e",
}  # fmt: skip
"""Of files, by what stands where a URL should."""


def test_a_shard_whose_url_nobody_understands_is_described_as_it_stands(publish, anybody):
    shards = [{"url": url, "checksum": {"algorithm": "sha256", "digest": "00" * 32}} for url in NAMES]
    found = described_storage(publish, anybody, {"$type": "science.alt.dataset.storageHttp", "shards": shards})
    assert {shard.url: shard.name for shard in found.shards} == NAMES
    assert {shard.address for shard in found.shards} == {*NAMES, "https://b.s3.amazonaws.com/x/y.tar"} - {
        "S3://b/x/y.tar"
    }
    for make in FORMATS.values():
        make(found)


def test_shards_that_a_pattern_stands_for_are_described_one_by_one(publish, anybody):
    urls = ["https://e.org/d-{000..002}.tar", "https://e.org/{train,test}.tar"]
    storage = {"$type": "science.alt.dataset.storageExternal", "urls": urls}
    found = described_storage(publish, anybody, storage)
    assert [shard.address for shard in found.shards] == [f"https://e.org/{name}" for name in
        ("d-000.tar", "d-001.tar", "d-002.tar", "train.tar", "test.tar")]  # fmt: skip
    assert (found.shards[0].name, found.shards[0].sha256, found.shards[0].size) == ("d-000.tar", None, None)
    for url, said in (("d-{0.tar", "unbalanced"), ("{0..99999}/{0..9}.tar", "100000 are the most")):
        with pytest.raises(StorageError, match=said):
            described_storage(publish, anybody, {**storage, "urls": [url]}, said)


def described_storage(publish, anybody, storage, name="name"):
    return describe(publish([name], storage=storage).uris[name], anybody)


def test_the_json_ld_names_creators_files_with_digests_and_the_licence(publish, anybody):
    found = json.loads(json.dumps(schema_org(describe(publish().uris["pictures"], anybody))))
    assert (found["@type"], found["license"]) == ("Dataset", "https://spdx.org/licenses/CC-BY-4.0")
    assert found["creator"][0]["@id"] == "https://orcid.org/0000-0002-1825-0097"
    assert found["distribution"][1]["sha256"] == "01" * 32
    assert found["distribution"][1]["contentSize"] == "20480 B"


def test_a_dataset_of_which_nothing_is_said_is_described_by_what_it_is(publish, anybody):
    found = describe(publish(["pictures"], text=None, content=None).uris["pictures"], anybody)
    assert schema_org(found)["description"] == (
        "100 samples with the fields image, label in 2 shards, published on the AT Protocol network."
    )
