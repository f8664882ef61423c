"""What is known of a published dataset, by anybody."""

import json

import pytest

from atdata_core.atmosphere import AtmosphereIndex
from atdata_core.describing import describe, describe_all, schema_org


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
    found = {each.name: each for each in describe_all(published.handle, anybody)}
    assert {name: each.uri for name, each in found.items()} == published.uris
    assert found["pictures"] == describe(published.uris["pictures"], anybody)
    assert [field.type for field in found["rows"].fields] == ["str", "int", "bool", "float"]
    assert [field.description for field in found["texts"].fields][1] == "One by one."


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
