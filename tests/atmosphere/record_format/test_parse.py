import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atdata_core.atmosphere.record_format.parse import read_entry_record, read_schema_record
from atdata_core.errors import AtdataError, RefusedError, SchemaError
from atdata_core.samples.schema import decode

ENTRY = "science.alt.dataset.entry"
URI = "at://did:plc:abc/science.alt.dataset.entry/3n2v7vxlskq23"
EVERYTHING = [
    ("s", "str", False), ("i", "int", False), ("f", "float", False), ("b", "bool", False), ("raw", "bytes", False),
    ("arr", "ndarray", False), ("arr32", "ndarray", False), ("names", "array", False), ("nums", "array", False),
    ("rows", "array", False), ("opt_s", "str", True), ("opt_arr", "ndarray", True),
]  # fmt: skip


@pytest.fixture(scope="module")
def bodies(golden):
    """Every record that the two versions wrote: ``(version, step, record)``."""
    return [
        (folder.name, capture["step"], request["body"]["record"])
        for folder in sorted(golden.iterdir())
        for capture in json.loads((folder / "atproto_records.json").read_text())["captures"]
        for request in capture["requests"]
    ]


def of_kind(bodies, *kinds):
    found = [(version, step, record) for version, step, record in bodies if record["$type"].endswith(kinds)]
    assert found
    return found


def read_entry(record):
    return read_entry_record(URI, "bafy", record, service_of=lambda did: f"https://pds.example/{did}")


def test_every_schema_in_the_field_is_read_and_rebuilt(bodies):
    for version, step, record in of_kind(bodies, ".schema", ".sampleSchema"):
        local = read_schema_record(record)
        assert (local["name"], local["version"]) == (record["name"], record["version"]), (version, step)
        assert (local["description"], local["createdAt"]) == (record["description"], record["createdAt"])
        kinds = [
            (
                field["name"],
                field["fieldType"].get("primitive") or field["fieldType"]["$type"][6:],
                field["optional"],
            )
            for field in local["fields"]
        ]
        assert kinds == (EVERYTHING if record["name"] == "Everything" else [("x", "int", False)])
        assert list(decode(local).__annotations__) == [name for name, _, _ in kinds]


def test_every_entry_in_the_field_is_read(bodies):
    for version, step, record in of_kind(bodies, ".entry", ".record"):
        entry = read_entry(record)
        assert (entry.name, entry.schema_ref) == (record["name"], record["schemaRef"]), (version, step)
        assert (entry.license, entry.tags) == (record.get("license"), record.get("tags", []))
        assert len(entry.data_urls) == len(entry.shards) > 0


@pytest.mark.parametrize(
    ("step", "urls", "digests"),
    [
        ("promote data_store=None no metadata", ["/data/tiny.tar"], [None]),
        ("promote multi urls", ["https://h/a-0.tar", "https://h/a-1.tar"], [None, None]),
        ("publish_with_s3", ["s3://bkt/k/0.tar", "s3://bkt/k/1.tar"], ["a" * 64, "b" * 64]),
        ("publish_with_urls", ["https://h/0.tar"], ["c" * 64]),
        (
            "publish_with_blobs",
            [
                "https://pds.example/did:plc:abc/xrpc/com.atproto.sync.getBlob"
                "?did=did%3Aplc%3Aabc&cid=bafkreiah54eqiyr2onizggzv3cpjss4o3ozo3savvil3sowrbgvcec6yt4"
            ],
            ["07ef0904623a7351931b35d89e994b8edbb2edc815aa17b93ad109aa220bd89f"],
        ),
        ("publish(Dataset)", ["https://h/d-000.tar", "https://h/d-001.tar", "https://h/d-002.tar"], [None] * 3),
    ],
)
def test_entries_of_0_7_name_their_shards_and_digests(bodies, step, urls, digests):
    ((_, _, record),) = [
        body for body in of_kind(bodies, ".entry") if body[1].startswith(step) and body[0].endswith("0.7.0b1")
    ]
    entry = read_entry(record)
    assert entry.data_urls == urls
    assert [shard.sha256 for shard in entry.shards] == digests


def test_the_metadata_of_0_7_is_read_as_the_dict_that_was_given(bodies):
    ((_, _, record),) = [body for body in of_kind(bodies, ".entry") if isinstance(body[2].get("metadata"), dict)]
    assert read_entry(record).metadata == {"version": "9", "split": "train", "k": "v"}


def test_entries_of_0_2_keep_their_brace_patterns_and_bare_blobs(bodies):
    entries = [read_entry(record) for _, _, record in of_kind(bodies, "dataset.record")]
    assert [entry.data_urls for entry in entries if entry.name != "blobs"] == [
        ["/data/tiny.tar"],
        ["https://h/d-{000..002}.tar"],
    ]
    (blobs,) = [entry for entry in entries if entry.name == "blobs"]
    assert blobs.shards[0].sha256 == "07ef0904623a7351931b35d89e994b8edbb2edc815aa17b93ad109aa220bd89f"


def test_the_order_of_fields_survives_a_pds_that_sorts_keys(everything):
    from atdata_core.atmosphere.record_format.build import schema_record
    from atdata_core.samples.compatibility import compare
    from atdata_core.samples.schema import schema_of
    from atdata_core.state.ledger import timestamp

    local = schema_of(everything)
    record = json.loads(json.dumps(schema_record(local, created_at=timestamp()), sort_keys=True))
    found = read_schema_record(record)
    assert [field["name"] for field in found["fields"]] == list(everything.__annotations__)
    assert found["module"] == everything.__module__
    assert compare(found, local) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"$type": "app.bsky.feed.post"}, "no dataset record"),
        ({"$type": "science.alt.dataset.label", "datasetUri": "at://d/e/f"}, "its dataset is at://d/e/f"),
        ({"name": None}, "`name`"),
        ({"schemaRef": 3}, "`schemaRef`"),
        ({"storage": []}, "`storage`"),
        ({"storage": {"$type": "x.y.storageMagnet"}}, "storageMagnet"),
        ({"storage": {"$type": "science.alt.dataset.storageHttp"}}, "`shards`"),
        ({"storage": {"$type": "science.alt.dataset.storageHttp", "shards": [3]}}, r"`shards\[0\]`"),
        ({"storage": {"$type": "science.alt.dataset.storageHttp", "shards": [{}]}}, r"shards\[0\]: `url`"),
        ({"storage": {"$type": "science.alt.dataset.storageBlobs", "blobs": [{"blob": {"ref": "x"}}]}}, "`ref`"),
        ({"tags": "a"}, "`tags`"),
        ({"metadata": 3}, "metadata"),
    ],
)
def test_a_malformed_entry_is_refused_with_the_place(change, said):
    good = {
        "$type": ENTRY,
        "name": "n",
        "schemaRef": "at://x",
        "storage": {"$type": "science.alt.dataset.storageHttp", "shards": [{"url": "https://h/0.tar"}]},
    }
    assert read_entry(good).data_urls == ["https://h/0.tar"]
    with pytest.raises(ValueError, match=said) as caught:
        read_entry({**good, **change})
    assert isinstance(caught.value, RefusedError)


def test_a_schema_of_a_later_format_is_refused():
    with pytest.raises(SchemaError, match="later"):
        read_schema_record({"$type": "science.alt.dataset.schema", "name": "N", "atdataSchemaVersion": 2})


def test_a_malformed_schema_says_whose_it_is():
    with pytest.raises(SchemaError, match=r"'N'.*`schema`"):
        read_schema_record({"$type": "science.alt.dataset.schema", "name": "N", "version": "1.0.0"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_record_makes_a_reader_stumble(bodies, data):
    record = json.loads(json.dumps(data.draw(st.sampled_from([record for _, _, record in bodies]))))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([path for path in paths(record) if path]))
        holder = record
        for key in path[:-1]:
            holder = holder[key]
        if data.draw(st.booleans()):
            holder[path[-1]] = data.draw(json_values)
        else:
            del holder[path[-1]]
    for read in (read_entry, read_schema_record):
        try:
            found = read(record)
        except AtdataError:
            continue
        if read is read_schema_record:
            try:
                decode(found)
            except SchemaError:
                continue
