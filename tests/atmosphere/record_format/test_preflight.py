import base64
import copy
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import atdata_core.atmosphere
from atdata_core.atmosphere.record_format import lexicon
from atdata_core.atmosphere.record_format.build import entry_record, label_record, schema_record
from atdata_core.atmosphere.record_format.lexicon import check, put_request
from atdata_core.atmosphere.record_format.record_keys import (
    ENTRY,
    LABEL,
    SCHEMA,
    Publication,
    label_rkey,
    schema_rkey,
)
from atdata_core.atmosphere.xrpc.session import AS_SENT
from atdata_core.errors import PreflightError
from atdata_core.protocols import ShardFacts
from atdata_core.samples.schema import schema_of
from atdata_core.state.ledger import timestamp

OURS = Path(atdata_core.atmosphere.__file__).parent / "lexicons"
DID = "did:plc:abcdefghijklmnopqrstuvwx"
SCHEMA_URI = f"at://{DID}/{SCHEMA}/m.C:1.0.0"
KEYS = {SCHEMA: schema_rkey("m.C", "1.0.0"), ENTRY: Publication(DID, "n", "c").rkey, LABEL: label_rkey(DID, "n")}
BLOB = {"$type": "blob", "ref": {"$link": "bafkreiah54eqiyr2onizggzv3cpjss4o3ozo3savvil3sowrbgvcec6yt4"},
        "mimeType": "application/x-tar", "size": 8}  # fmt: skip


def entry(urls=("s3://bucket/a.tar",), **changes):
    shards = [ShardFacts(url, 10, "ab" * 32, samples=3) for url in urls]
    words = {"description": "d", "tags": ["a", "b"], "license": "MIT", "metadata": {"a": 1.5}, **changes}
    return entry_record(name="n", schema_uri=SCHEMA_URI, shards=shards, created_at=timestamp(), **words)


@pytest.fixture(scope="module")
def records(everything):
    """Records of every kind that we write, and of the kinds that a lexicon knows besides."""
    schema = schema_record(schema_of(everything, description="x"), created_at=timestamp())
    blobs = {"$type": "science.alt.dataset.storageBlobs", "blobs": [{"blob": BLOB}]}
    return [
        schema,
        {**schema, "metadata": {"license": "MIT", "tags": ["t"], "module": "m"}},
        entry(),
        entry(["https://h/0.tar", "https://h/1.tar"]),
        {**entry(), "storage": blobs, "manifests": [{"header": BLOB}], "contentMetadata": {"a": 1}},
        label_record(name="n", dataset_uri=f"at://{DID}/{ENTRY}/x", version="1", created_at=timestamp()),
    ]


def lexrpc_base(folder):
    from lexrpc.base import Base

    files = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return Base(lexicons=[file for file in files if "lexicon" in file])


@pytest.fixture(scope="module")
def ours():
    """lexrpc with our lexicon files."""
    return lexrpc_base(OURS)


@pytest.fixture(scope="module")
def published(lexicons):
    """lexrpc with the published lexicons."""
    return lexrpc_base(lexicons)


def native(value):
    """With native bytes and CIDs, as lexrpc wants them."""
    from multiformats import CID

    if isinstance(value, dict):
        if value.keys() == {"$bytes"} and isinstance(value["$bytes"], str):
            return base64.b64decode(value["$bytes"] + "===")
        if value.keys() == {"$link"}:
            return CID.decode(value["$link"])
        return {key: native(item) for key, item in value.items()}
    return [native(item) for item in value] if isinstance(value, list) else value


def accepts(base, record):
    from lexrpc.base import ValidationError

    try:
        base.validate(record["$type"], "record", native(record))
    except ValidationError:
        return False
    return True


def test_every_record_that_we_write_passes(records):
    for record in records:
        check(record["$type"], KEYS[record["$type"]], record, did=DID)


def test_every_record_that_we_write_passes_the_published_lexicons(records, published, ours):
    for record in records:
        assert accepts(published, record)
        assert accepts(ours, record)


# Where lexrpc and the official validator agree; `unknown` is where they do not.
REPLACEMENTS = [
    None, True, 0, -1, 1, 10**6, "", "x", "1.0.0", "1.0", "draft-07", "x" * 51, "x" * 201, "ü" * 76, "ü" * 101,
    "x" * 5001, [], {}, ["a"], ["a"] * 31, [{}], {"$type": ""}, {"$type": "a.b.c"}, {"$type": ENTRY}, "https://h/x",
    {"$type": "science.alt.dataset.schemaType#jsonSchema"},
    "https://h/" + "x" * 2000, "no uri", f"at://{DID}", f"at://{DID}/{ENTRY}/x", "at://nobody", "at://a.test/x/y",
    "2026-11-22T10:00:00Z", "2026-11-22T10:00:00.123+01:00", "2026-11-22", "2026-11-22T10:00:00", "yesterday",
    {"$type": "science.alt.dataset.storageS3"}, {"$type": "science.alt.dataset.storageExternal", "urls": []},
    {"$bytes": "AAAA"}, BLOB,
]  # fmt: skip
UNKNOWN = {"content", "arrayFormatVersions", "contentMetadata"}


def places(value, path=()):
    """Paths of what a lexicon describes."""
    if path:
        yield path
    if isinstance(value, dict) and "mimeType" not in value and "$bytes" not in value:
        for key, inner in value.items():
            if key not in UNKNOWN and not key.startswith("$"):
                yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from places(inner, (*path, position))


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_our_lexicons_and_our_validator_judge_as_the_published_ones(records, published, ours, data):
    record = json.loads(json.dumps(data.draw(st.sampled_from(records))))
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(list(places(record))))
        holder = record
        for key in path[:-1]:
            holder = holder[key]
        if data.draw(st.booleans()):
            replacement = copy.deepcopy(data.draw(st.sampled_from(REPLACEMENTS)))
            # lexrpc takes any text for a member of a union, any object for a blob; officially they are none.
            assume(path not in (("storage",), ("schema",)) or not isinstance(replacement, str))
            assume(path[-1] not in ("blob", "header") or not isinstance(replacement, dict))
            holder[path[-1]] = replacement
        else:
            del holder[path[-1]]
    next_attempt = accepts(published, record)
    assert accepts(ours, record) == next_attempt
    problems = lexicon.problems(record["$type"], record)
    # lexrpc knows no `pattern`; the published lexicon of a schema has one for its version.
    patterns = [problem for problem in problems if "semantic version" in problem]
    assert (problems == patterns) == next_attempt, problems


def test_our_files_say_the_same_as_the_published_ones_in_other_words(lexicons):
    def bare(value):
        if isinstance(value, dict):
            return {
                key: sorted(inner) if key == "required" else bare(inner)
                for key, inner in value.items()
                if not (key == "description" and isinstance(inner, str))
            }
        return [bare(inner) for inner in value] if isinstance(value, list) else value

    for path in OURS.glob("*.json"):
        assert bare(json.loads(path.read_text())) == bare(json.loads((lexicons / path.name).read_text())), path.name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "ü" * 101}, "name: 202 bytes, 200 are allowed"),
        ({"description": "x" * 5001}, "description: 5,001 bytes"),
        ({"tags": ["x"] * 31}, "tags: 31 items"),
        ({"tags": ["ok", "x" * 151]}, r"tags\[1\]: 151 bytes"),
        ({"license": 3}, "license: int, not a string"),
        ({"schemaRef": "at://x/y z"}, "schemaRef: .* is no at-uri"),
        ({"createdAt": "2026-13-01T00:00:00Z"}, "createdAt: .* is no datetime"),
        ({"size": {"bytes": 2**53}}, r"size.bytes: 9007199254740992 is beyond 2\*\*53"),
        ({"size": {"shards": 0}}, "size.shards: 0, at least 1"),
        ({"contentMetadata": {"pi": 3.14}}, "contentMetadata.pi: 3.14 is a float"),
        ({"contentMetadata": {"$mine": 1}}, r"contentMetadata.\$mine: names with \$"),
        ({"contentMetadata": "text"}, "contentMetadata: str, not an object"),
        ({"description": "\ud800"}, "description: not valid Unicode"),
        ({"metadata": {"$bytes": "%"}}, "metadata: .*not bytes"),
        ({"metadata": {"$bytes": "A" * 140_000}}, "metadata: 105,000 bytes, 100,000 are allowed"),
        ({"$type": LABEL}, r"\$type: 'science.alt.dataset.label' instead of"),
        ({"description": "x" * 1_000_000}, "a request of 1,00.*1,000,000 are allowed"),
    ],
)
def test_a_record_that_the_network_would_refuse_is_refused_with_the_place(changes, said):
    with pytest.raises(PreflightError, match=said):
        check(ENTRY, KEYS[ENTRY], {**entry(), **changes}, did=DID)


def test_all_problems_are_told_at_once():
    with pytest.raises(PreflightError) as caught:
        check(ENTRY, "a b", {**entry(), "name": "x" * 201, "tags": [1], "extra": 0.5}, did=DID)
    assert len(caught.value.problems) == 4
    assert all(problem in str(caught.value) for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("collection", "key"),
    [(ENTRY, "digits"), (LABEL, ""), (SCHEMA, "a@b"), (SCHEMA, ".."), (SCHEMA, "x" * 513), (ENTRY, "z" * 13)],
)
def test_a_record_key_of_another_form_is_refused(records, collection, key):
    (record, *_) = [record for record in records if record["$type"] == collection]
    with pytest.raises(PreflightError, match="record key"):
        check(collection, key, record, did=DID)


@pytest.mark.parametrize("version", ["1.0", "v1.0.0", "1.0.0.0", "01.0.0"])
def test_a_schema_version_that_is_not_semantic_is_refused(records, version):
    with pytest.raises(PreflightError, match="semantic version"):
        check(SCHEMA, KEYS[SCHEMA], {**records[0], "version": version}, did=DID)


@pytest.mark.parametrize(
    ("kind", "fits"), [("s3://bucket/data/{:06d}.tar", 5_900), ("https://example.org/{:06d}.tar", 4_700)]
)
def test_a_record_has_room_for_thousands_of_shards_and_the_refusal_of_more_says_so(kind, fits):
    check(ENTRY, KEYS[ENTRY], entry([kind.format(n) for n in range(fits)]), did=DID)
    with pytest.raises(PreflightError, match="fewer, larger"):
        check(ENTRY, KEYS[ENTRY], entry([kind.format(n) for n in range(2 * fits)]), did=DID)


@pytest.mark.parametrize("swap", [None, "bafyreiah54eqiyr2onizggzv3cpjss4o3ozo3savvil3sowrbgvcec6yt4"])
def test_the_size_is_that_of_the_request_as_it_is_sent(swap):
    sent = put_request(DID, ENTRY, KEYS[ENTRY], {**entry(), "extra": ""}, swap=swap)
    room = 1_000_000 - len(AS_SENT.encode(sent).encode())
    check(ENTRY, KEYS[ENTRY], {**sent["record"], "extra": "x" * room}, did=DID, swap=swap)
    with pytest.raises(PreflightError, match="1,000,001 bytes"):
        check(ENTRY, KEYS[ENTRY], {**sent["record"], "extra": "x" * (room + 1)}, did=DID, swap=swap)
