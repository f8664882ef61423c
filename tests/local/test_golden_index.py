"""The Redis databases that earlier versions of atdata wrote, and what they read of ours."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

from atdata_core import packable
from atdata_core.common.cid import dag_cbor, entry_cid
from atdata_core.errors import EntryNotFoundError
from atdata_core.local import LocalDatasetEntry, LocalIndex
from atdata_core.protocols import ShardFacts
from atdata_core.samples.compatibility import compare
from atdata_core.samples.schema import schema_of

VERSIONS = ["atdata-0.2.2b1", "atdata-0.7.0b1"]


@packable
class Everything:
    """One field of each kind."""

    s: str
    i: int
    f: float
    b: bool
    raw: bytes
    arr: NDArray
    arr32: NDArray[np.float32]
    names: list[str]
    nums: list[int]
    rows: list[list[float]]
    opt_s: str | None
    opt_arr: NDArray | None


@packable
class WithDict:
    """A field that upstream has no word for."""

    opt: int | None
    d: dict[str, int]
    anything: list


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest, golden: Path, client: Any) -> dict[str, Any]:
    """What a version wrote, restored into an empty database."""
    written = json.loads((golden / request.param / "redis_index.json").read_text())
    for key, value in written["redis"].items():
        if value["type"] == "hash":
            client.hset(
                key,
                mapping={name: bytes.fromhex(field) for name, field in value["fields_hex"].items()},
            )
        else:
            client.set(key, bytes.fromhex(value["value_hex"]))
    return written


def exact(value: Any) -> Any:
    """A value of the manifest, bytes included."""
    if isinstance(value, dict):
        return bytes.fromhex(value["$hex"]) if list(value) == ["$hex"] else {k: exact(v) for k, v in value.items()}
    return [exact(each) for each in value] if isinstance(value, list) else value


def test_every_entry_is_found_by_name_and_by_cid_with_its_exact_metadata(old: dict[str, Any], index: LocalIndex):
    for each in old["entries"]:
        entry = index.get_entry_by_name(each["name"])
        assert (entry.name, entry.schema_ref, entry.data_urls, entry.cid) == (
            each["name"],
            each["schema_ref"],
            each["data_urls"],
            each["cid"],
        )
        assert entry.metadata == exact(each["metadata"])
        assert index.get_entry(each["cid"]) == entry
    assert [entry.name for entry in index.list_datasets()] == sorted(each["name"] for each in old["entries"])


def test_every_cid_is_the_one_that_we_compute(old: dict[str, Any]):
    for each in old["entries"]:
        assert entry_cid(each["schema_ref"], each["data_urls"]) == each["cid"]
        content = {"data_urls": each["data_urls"], "schema_ref": each["schema_ref"]}
        assert dag_cbor(content).hex() == each["cid_input_dag_cbor_hex"]


def test_every_schema_is_read_by_the_reference_that_was_returned(old: dict[str, Any], index: LocalIndex):
    for ref in old["steps"]["publish_schema_returns"]:
        name, version = ref.rpartition("/")[2].split("@")
        written = old["redis"][f"LocalSchema:{name}@{version}"]["value_json"]
        schema = index.get_schema(ref)
        assert {key: schema[key] for key in written} == written
        assert index.decode_schema(ref).__name__ == name


def test_every_form_of_a_reference_finds_the_same_schema(old: dict[str, Any], index: LocalIndex):
    forms = ("local://schemas/golden.mod.", "atdata://local/schema/", "atdata://local/sampleSchema/")
    found = [index.get_schema(f"{form}Tiny@1.0.0") for form in forms]
    assert found[0] == found[1] == found[2]


def test_the_listing_has_every_schema_once(old: dict[str, Any], index: LocalIndex):
    listed = [f"LocalSchema:{schema['name']}@{schema['version']}" for schema in index.list_schemas()]
    assert listed == sorted(key for key in old["redis"] if key.startswith("LocalSchema:"))


def test_our_description_of_the_same_class_is_the_same_schema(old: dict[str, Any], index: LocalIndex):
    theirs = index.get_schema("atdata://local/schema/Everything@1.2.3")
    assert compare(schema_of(Everything, version="1.2.3"), theirs) == []


def test_publishing_the_same_class_leaves_what_others_wrote_as_it_was(
    old: dict[str, Any], index: LocalIndex, client: Any
):
    before = client.get("LocalSchema:Everything@1.2.3")
    ref = index.publish_schema(Everything, version="1.2.3")

    assert client.get("LocalSchema:Everything@1.2.3") == before
    assert index.get_schema(ref)["createdAt"] == json.loads(before)["createdAt"]
    assert [schema["name"] for schema in index.list_schemas()].count("Everything") == 1


def test_labels_find_their_entries(golden: Path, index: LocalIndex, client: Any):
    written = json.loads((golden / "atdata-0.7.0b1/redis_index.json").read_text())["redis"]
    labels = {key: value["fields_hex"] for key, value in written.items() if key.startswith("Label:")}
    assert labels
    for key, value in written.items():
        if value["type"] == "hash":
            # As if every entry had been inserted under another name since.
            fields = {name: bytes.fromhex(field) for name, field in value["fields_hex"].items()}
            if key.startswith("LocalDatasetEntry:"):
                fields["name"] = b"renamed " + fields["name"]
            client.hset(key, mapping=fields)
    for fields in labels.values():
        name = bytes.fromhex(fields["name"]).decode()
        assert index.get_entry_by_name(name).cid == bytes.fromhex(fields["cid"]).decode()
    with pytest.raises(EntryNotFoundError):
        index.get_entry_by_name("multi")


UPSTREAM_READS = """
import json, sys, warnings
warnings.simplefilter("ignore")
from redis import Redis
from atdata.index import Index
redis = Redis.from_url(sys.argv[1])
index = Index(redis=redis, atmosphere=None)
def shown(entry):
    return [entry.name, entry.schema_ref, entry.data_urls, entry.cid, repr(entry.metadata)]
types = {}
for ref in json.loads(sys.argv[2]):
    index.get_schema(ref)
    made = index.get_schema_type(ref)
    types[ref] = [made.__name__, sorted(made.__dataclass_fields__)]
print(json.dumps({
    "entries": sorted(shown(entry) for entry in index.list_entries()),
    "labelled": {name: shown(index.get_dataset(name)) for name in json.loads(sys.argv[3])},
    "types": types,
    "schemas": sorted(record.name + "@" + record.version for record in index.schemas),
}))
"""


@pytest.fixture
def upstream_reads(redis_url: str) -> Any:
    python = os.environ.get("ATDATA_UPSTREAM_PYTHON")
    if not python:
        pytest.skip("ATDATA_UPSTREAM_PYTHON names no interpreter with atdata 0.7.0b1")

    def read(refs: list[str], names: list[str]) -> dict[str, Any]:
        ran = subprocess.run(
            [python, "-c", UPSTREAM_READS, redis_url, json.dumps(refs), json.dumps(names)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr[-2000:]
        return json.loads(ran.stdout.splitlines()[-1])

    return read


def test_upstream_reads_our_entries_labels_and_schemas(index: LocalIndex, upstream_reads: Any):
    refs = [index.publish_schema(Everything, version="1.2.3"), index.publish_schema(WithDict)]
    metadata = {"split": "train", "f": 0.5, "raw": b"\x00", "big": 2**60, "n": [None, {"x": 1}]}
    plain = LocalDatasetEntry("plain", refs[0], ["s3://b/{000..003}.tar"], metadata)
    index.register(plain, claims=[ShardFacts(url="s3://b/000.tar", size=1, sha256="a" * 64)])
    first = index.register(LocalDatasetEntry("first", refs[1], ["a.tar", "b.tar"], {1: "no string"}))
    second = index.register(LocalDatasetEntry("second", refs[1], ["a.tar", "b.tar"]))

    read = upstream_reads(refs, ["plain", "first", "second"])

    def shown(entry: LocalDatasetEntry, metadata: Any) -> list[Any]:
        return [entry.name, entry.schema_ref, entry.data_urls, entry.cid, repr(metadata)]

    # Upstream has one key for both names; its labels tell them apart.
    assert read["entries"] == [shown(plain, metadata), shown(second, None)]
    assert [read["labelled"][name][3] for name in ("plain", "first", "second")] == [
        plain.cid,
        first.cid,
        second.cid,
    ]
    assert read["types"] == {
        refs[0]: ["Everything", sorted(schema_fields(Everything))],
        refs[1]: ["WithDict", ["anything", "d", "opt"]],
    }
    assert set(read["schemas"]) == {"Everything@1.2.3", "WithDict@1.0.0"}
    assert [field["name"] for field in index.get_schema(refs[1])["fields"]] == ["opt", "d", "anything"]


def test_metadata_that_upstream_stumbles_over_is_kept_from_it_only(
    index: LocalIndex, client: Any, upstream_reads: Any
):
    entry = index.register(LocalDatasetEntry("n", "local://schemas/m.S@1.0.0", ["a.tar"], {1: 2}))

    assert upstream_reads([], ["n"])["entries"][0][4] == "None"
    assert index.get_entry_by_name("n").metadata == index.get_entry(entry.cid).metadata == {1: 2}
    assert msgpack.unpackb(client.hget(f"LocalDatasetEntry:{entry.cid}", "data_urls")) == ["a.tar"]


def schema_fields(sample_type: type) -> list[str]:
    return [field["name"] for field in schema_of(sample_type)["fields"]]
