"""What we write is read by atdata 0.7.0b1 (its interpreter in ATDATA_UPSTREAM_PYTHON)."""

import json
import os
import subprocess

import numpy as np
import pytest
from numpy.typing import NDArray

from atdata_core.atmosphere.record_format.build import entry_record, label_record
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, Publication, label_rkey
from atdata_core.samples.sample_types import packable
from atdata_core.state.ledger import timestamp

METADATA = {"split": "train", "epochs": 10, "rate": 0.25, "raw": b"\0\xff", "nested": {"a": [1, None, "x"]}}

READER = r"""
import base64, json, sys
from atdata.atmosphere import AtmosphereIndexEntry, LexDatasetEntry, LexLabelRecord, LexSchemaRecord
from atdata._schema_codec import _schema_to_type
import dataclasses, typing
given = json.load(sys.stdin)
LexSchemaRecord.from_record(given["schema"]["value"])
kind = _schema_to_type(given["schema"]["value"])
sample = kind.from_data({**__import__("msgpack").unpackb(base64.b64decode(given["sample"]))})
entry = AtmosphereIndexEntry(given["entry"]["uri"], given["entry"]["value"])
typed = LexDatasetEntry.from_record(given["entry"]["value"])
label = LexLabelRecord.from_record(given["label"]["value"])
def shown(value):
    return {"bytes": value.hex()} if isinstance(value, bytes) else str(value)
json.dump({
    "class": kind.__name__,
    "fields": {field.name: str(field.type) for field in dataclasses.fields(kind)},
    "sample": {name: shown(getattr(sample, name)) for name in ("text", "maybe", "number", "raw", "b")},
    "array": sample.array.tolist(),
    "name": entry.name, "urls": entry.data_urls, "schema_ref": entry.schema_ref,
    "metadata": {key: shown(value) for key, value in entry.metadata.items()},
    "checksums": [shard.checksum.digest for shard in typed.storage.shards],
    "size": dataclasses.asdict(typed.size), "tags": typed.tags, "license": typed.license,
    "label": [label.name, label.dataset_uri, label.version],
}, sys.stdout)
"""


DECODER = r"""
import dataclasses, json, sys
from atdata.atmosphere import Atmosphere, AtmosphereIndex
given = json.load(sys.stdin)
kind = AtmosphereIndex(Atmosphere(given["pds"])).decode_schema(given["uri"])
def shown(kind):
    return kind.__name__ if kind in (int, str) else str(kind).removeprefix("typing.")
json.dump([f"{field.name} {shown(field.type)}" for field in dataclasses.fields(kind)], sys.stdout)
"""


@pytest.fixture(scope="module")
def upstream():
    """Run a program with atdata 0.7.0b1."""
    python = os.environ.get("ATDATA_UPSTREAM_PYTHON")
    if not python:
        pytest.skip("ATDATA_UPSTREAM_PYTHON names no interpreter with atdata 0.7.0b1")

    def run(program, value):
        done = subprocess.run(
            [python, "-W", "ignore", "-c", program],
            input=json.dumps(value),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_schema_entry_and_label_from_a_pds_are_read_by_atdata_0_7(upstream, index, client, facts, everything):
    import base64

    schema_uri = index.publish_schema(everything, version="2.0.0", description="all kinds")
    urls = [f"s3://bucket/{n}.tar" for n in range(3)]
    entry = entry_record(
        name="digits",
        schema_uri=schema_uri,
        shards=[facts(url, endpoint="https://s3.example.org", sha256=f"{n:064x}") for n, url in enumerate(urls)],
        description="d",
        tags=["a", "b"],
        license="MIT",
        metadata=METADATA,
        created_at=timestamp(),
    )
    written, _ = client.create_once(ENTRY, Publication(client.did, "digits", "bafy").rkey, entry)
    label = label_record(name="digits", dataset_uri=written.uri, version=None, created_at=timestamp())
    pointed, _ = client.create_once(LABEL, label_rkey(client.did, "digits"), label)
    sample = everything(
        text="hello", maybe=None, number=7, ratio=0.5, flag=True, raw=b"\0\1", array=np.arange(6.0).reshape(2, 3),
        typed=np.ones(2, np.float32), names=["x"], rows=[[1.0]], b=None,
    )  # fmt: skip
    found = {
        name: {"uri": uri, "value": client.get_record(uri).value}
        for name, uri in (("schema", schema_uri), ("entry", written.uri), ("label", pointed.uri))
    }
    read = upstream(READER, {**found, "sample": base64.b64encode(sample.packed).decode()})
    assert read["class"] == "Everything"
    assert read["fields"].keys() == set(everything.__annotations__)
    assert read["sample"] == {
        "text": "hello",
        "maybe": "None",
        "number": "7",
        "raw": {"bytes": "0001"},
        "b": "None",
    }
    assert read["array"] == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert (read["name"], read["urls"], read["schema_ref"]) == ("digits", urls, schema_uri)
    assert read["metadata"] == {
        "split": "train", "epochs": "10", "rate": "0.25", "raw": {"bytes": "00ff"},
        "nested": "{'a': [1, None, 'x']}",
    }  # fmt: skip
    assert read["checksums"] == [f"{n:064x}" for n in range(3)]
    assert (read["size"], read["tags"], read["license"]) == (
        {"samples": 9, "bytes_": 30, "shards": 3}, ["a", "b"], "MIT",
    )  # fmt: skip
    assert read["label"] == ["digits", written.uri, None]


@pytest.mark.parametrize(
    ("optional", "fields"),
    [
        # A PDS gives the shorter names first; that reader has no optional field before a required one.
        ("maybe", ["n int", "tags list[str]", "text str", "image NDArray", "maybe Optional[int]"]),
        ("opt", ["n int", "opt int", "tags list[str]", "text str", "image NDArray"]),
    ],
)
def test_a_class_is_decoded_by_atdata_0_7_straight_from_the_pds(upstream, index, pds, optional, fields):
    @packable
    class Shot:
        __annotations__ = {
            "text": str, "image": NDArray, "n": int, optional: int | None, "tags": list[str],
        }  # fmt: skip

    uri = index.publish_schema(Shot)
    assert upstream(DECODER, {"pds": pds.url, "uri": uri}) == fields
