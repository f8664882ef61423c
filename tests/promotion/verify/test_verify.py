"""A verification tells everything that is not as published, as anybody can find it out."""

import io
import json
import tarfile

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.lexicon import OLD_ENTRY
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA, AtUri
from atdata_core.errors import RefusedError
from atdata_core.local import S3DataStore
from atdata_core.promote import promote_to_atmosphere, verify_dataset
from atdata_core.stores.s3.objects import S3Endpoint


@pytest.fixture
def published(lab, atmosphere, box, new_bucket):
    """``published()`` promotes a dataset of three shards into a bucket that anybody can read; its at-uri."""
    bucket = new_bucket()
    store = S3DataStore(lab.s3, bucket=bucket, public_url=f"{box.public_url}/{bucket}")

    def publish(name="points", **more):
        return promote_to_atmosphere(lab.insert(name, **more), lab.index, atmosphere.client, data_store=store)

    return publish


@pytest.fixture
def verify(environ, monkeypatch):
    """``verify_dataset`` as somebody else calls it: no keys, no Redis, no login."""

    def call(*arguments, **more):
        with monkeypatch.context() as theirs:
            for name in environ:
                if name not in ("ATDATA_PDS_URL", "ATDATA_PLC_URL", "ATDATA_ALLOW_PRIVATE"):
                    theirs.delenv(name)
            return verify_dataset(*arguments, **more)

    return call


@pytest.fixture
def objects(s3, box):
    """Change the object behind a public URL."""
    client = S3Endpoint.from_credentials(s3).client

    def place(url):
        bucket, _, key = url.removeprefix(f"{box.public_url}/").partition("/")
        return {"Bucket": bucket, "Key": key}

    def change(url, edit):
        data = client.get_object(**place(url))["Body"].read()
        client.put_object(**place(url), Body=edit(bytearray(data)))

    def remove(url):
        client.delete_object(**place(url))

    change.remove = remove
    return change


@pytest.fixture
def edit(atmosphere):
    """Change a record on the PDS by hand."""

    def change(uri, **fields):
        record = atmosphere.client.get_record(uri)
        at = AtUri.parse(record.uri)
        value = {name: field for name, field in {**record.value, **fields}.items() if field is not None}
        atmosphere.client.replace(at.collection, at.rkey, value, swap=record.cid)

    return change


def delete(atmosphere, uri):
    at = AtUri.parse(uri)
    atmosphere.client.delete(at.collection, at.rkey)


def kinds(result):
    return [(finding.subject, finding.kind) for finding in result.findings]


def flip(data):
    # In the content of the first member, behind its header: the tar stays whole.
    data[600] ^= 1
    return bytes(data)


def test_what_is_as_published_is_found_so_by_a_stranger(published, atmosphere, verify):
    uri = published()
    seen = []
    result = verify(uri, progress=lambda done, total: seen.append((done, total)))
    assert (result.state, result.ok, result.findings, result.notes) == ("ok", True, (), ())
    assert result.signed_by == atmosphere.client.did
    record = atmosphere.client.get_record(uri)
    assert (result.uri, result.cid, result.name) == (uri, record.cid, "points")
    assert (result.shards, result.shards_checked, result.anonymous) == (3, 3, 3)
    assert (result.bytes_read, result.samples) == (record.value["size"]["bytes"], 15)
    assert result.readers == "readable by anybody"
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert json.loads(json.dumps(result.to_json()))["ok"] is True
    by_handle = uri.replace(atmosphere.client.did, atmosphere.client.handle)
    assert verify(by_handle).to_json() == result.to_json()


def test_shards_that_need_this_machines_keys_are_as_published_and_said_to_need_them(lab, atmosphere, verify):
    uri = promote_to_atmosphere(lab.insert(), lab.index, atmosphere.client)
    result = verify_dataset(uri)
    assert result.ok
    assert result.state == result.to_json()["state"] == "private"
    assert (result.shards_checked, result.anonymous) == (3, 0)
    assert result.readers == "3 of the shards cannot be read anonymously (but with this machine's keys)"
    without = verify(uri)
    assert without.state == "failed"
    assert kinds(without) == [("shards", "unreachable")] * 3
    assert without.shards_checked == 0


def test_everything_that_differs_is_told_at_once(published, objects, verify):
    uri = published()
    first, second, third = (finding for finding in verify(uri).looked_at)
    objects(first, flip)
    objects(second, lambda data: bytes(data[: len(data) // 2]))
    objects.remove(third)
    result = verify(uri)
    assert not result.ok
    told = {url: [each for each in result.findings if each.where == url] for url in (first, second, third)}
    assert [len(each) for each in told.values()] == [2, 2, 1]
    assert len(result.findings) == 5
    digest, sample = told[first]
    assert "SHA-256" in digest.problem
    assert len(digest.expected) == len(digest.found) == 64
    assert digest.expected != digest.found
    assert sample.subject == "samples"
    assert "1 of 5 samples" in sample.problem
    digest, damage = told[second]
    assert "SHA-256" in digest.problem
    assert "cut short" in damage.problem
    assert "There is no shard at" in told[third][0].problem
    assert {finding.kind for finding in result.findings} == {"differs"}
    assert result.shards_checked == 2


def test_a_flipped_bit_anywhere_in_a_shard_is_found(published, objects, verify):
    uri = published(shards=1)
    (url,) = verify(uri).looked_at
    for place in (0, 700, -1):

        def turn(data, place=place):
            data[place] ^= 1
            return bytes(data)

        objects(url, turn)
        found = verify(uri).findings
        assert any("SHA-256" in finding.problem for finding in found), place
        objects(url, turn)
        assert verify(uri).ok


def test_sizes_that_do_not_add_up_are_told_with_both_numbers(published, edit, verify):
    uri = published()
    true = verify(uri)
    edit(uri, size={"shards": 4, "bytes": true.bytes_read + 1, "samples": 14})
    result = verify(uri)
    assert [(each.problem.split()[0], each.expected, each.found) for each in result.findings] == [
        ("size.shards", "4", "3"),
        ("size.bytes", str(true.bytes_read + 1), str(true.bytes_read)),
        ("size.samples", "14", "15"),
    ]


def test_without_its_schema_the_bytes_are_checked_all_the_same(published, atmosphere, verify):
    uri = published()
    schema = atmosphere.records(SCHEMA)[0].uri
    delete(atmosphere, schema)
    result = verify(uri)
    assert [(each.subject, each.kind, each.where) for each in result.findings] == [("schema", "differs", schema)]
    assert (result.shards_checked, result.samples) == (3, 15)


def test_samples_that_the_published_schema_does_not_describe_are_counted(published, atmosphere, edit, verify):
    uri = published()
    (schema,) = atmosphere.records(SCHEMA)
    edited = json.loads(json.dumps(schema.value["schema"]).replace('"integer"', '"string"'))
    edit(schema.uri, schema=edited)
    result = verify(uri)
    assert kinds(result) == [("samples", "differs")] * 3
    assert result.findings[0].problem.startswith("5 of 5 samples are no Point of the published schema; the first: ")
    assert "label" in result.findings[0].problem
    edit(schema.uri, schema={**schema.value["schema"], "content": {"type": "object", "properties": {}}})
    assert ("schema", "differs") in kinds(verify(uri))


def test_a_record_that_does_not_fit_the_lexicon_is_told_field_by_field(published, edit, verify):
    uri = published()
    edit(uri, tags="no list", createdAt="yesterday", license="x" * 300)
    told = [each.problem for each in verify(uri).of("record")]
    assert any(problem.startswith("createdAt: ") for problem in told)
    assert any(problem.startswith("license: 300 bytes") for problem in told)
    assert any(problem.startswith("tags: str") for problem in told)


def test_unreadable_metadata_does_not_keep_the_shards_from_being_checked(published, edit, verify):
    uri = published(metadata={"a": 1})
    edit(uri, metadata={"$bytes": "/////w"})
    result = verify(uri)
    assert kinds(result) == [("record", "differs")]
    assert result.shards_checked == 3


def test_a_record_that_is_gone_and_one_of_another_kind_are_told(published, atmosphere, verify):
    uri = published()
    (label,) = atmosphere.records(LABEL)
    wrong = verify(label.uri)
    assert kinds(wrong) == [("record", "differs")]
    assert "is no dataset" in wrong.findings[0].problem
    delete(atmosphere, uri)
    gone = verify(uri)
    assert kinds(gone) == [("record", "differs")]
    assert (gone.uri, gone.cid, gone.shards) == (uri, None, 0)
    with pytest.raises(RefusedError, match="no at-uri"):
        verify("points")
    with pytest.raises(RefusedError, match="1 or more"):
        verify(uri, sample=0)


def test_a_label_that_points_at_nothing_differs_one_at_another_version_is_noted(
    published, atmosphere, edit, verify
):
    uri = published()
    (label,) = atmosphere.records(LABEL)
    newer = published(start=100)
    result = verify(uri)
    assert (result.ok, result.notes) == (True, (f"The label 'points' points at another version: {newer}.",))
    delete(atmosphere, newer)
    broken = verify(uri)
    assert [(each.subject, each.kind, each.where) for each in broken.findings] == [("label", "differs", label.uri)]
    assert (broken.findings[0].expected, broken.findings[0].found) == (uri, newer)
    edit(label.uri, datasetUri="https://example.org")
    assert kinds(verify(uri)) == [("label", "differs")]
    delete(atmosphere, label.uri)
    without = verify(uri)
    assert without.ok
    assert without.notes == ("No label 'points' points at it: it is found by its at-uri alone.",)


def test_a_private_address_in_a_record_is_not_asked(published, monkeypatch, verify):
    uri = published()
    monkeypatch.delenv("ATDATA_ALLOW_PRIVATE")
    result = verify(uri)
    assert kinds(result) == [("shards", "unreachable")] * 3
    assert all("private address 127.0.0.1" in finding.problem for finding in result.findings)


def test_a_part_of_the_shards_is_drawn_by_a_seed_and_named(published, verify):
    uri = published()
    result = verify(uri, sample=2, seed=1)
    assert (result.ok, result.shards, result.shards_checked, len(result.looked_at)) == (True, 3, 2, 2)
    assert result.notes == ("2 of 3 shards were read, drawn at random.",)
    assert verify(uri, sample=2, seed=1).looked_at == result.looked_at
    assert len({verify(uri, sample=1, seed=seed).looked_at for seed in range(4)}) > 1
    assert verify(uri, sample=3).notes == ()


class Lying(httpx.HTTPTransport):
    """A PDS on the way that changes what records say, and not their CIDs."""

    def handle_request(self, request):
        response = super().handle_request(request)
        body = response.read().replace(b'"points"', b'"prints"')
        return httpx.Response(response.status_code, content=body)


def test_a_pds_that_shows_other_content_under_a_cid_is_found_out(published, atmosphere, verify, closing):
    uri = published()
    result = verify(uri, client=AtmosphereClient(transport=closing(Lying())))
    (label,) = atmosphere.records(LABEL)
    finding, other = result.findings
    assert (other.subject, other.kind, other.where) == ("label", "differs", label.uri)
    assert result.signed_by is None
    assert (finding.subject, finding.kind, finding.where) == ("record", "differs", uri)
    assert finding.expected == atmosphere.client.get_record(uri).cid
    assert finding.found.startswith("bafyrei")


@pytest.fixture
def holding(objects):
    """Put other files into the shard behind a public URL: pairs of a name and a content."""

    def change(url, *files, keep=True):
        def edit(data):
            stream = io.BytesIO()
            with tarfile.open(fileobj=stream, mode="w") as archive, tarfile.open(fileobj=io.BytesIO(data)) as old:
                for member in old if keep else ():
                    archive.addfile(member, old.extractfile(member))
                for name, content in files:
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
            return stream.getvalue()

        objects(url, edit)

    return change


def test_files_that_are_no_samples_are_counted_and_the_first_is_named(published, edit, holding, verify):
    uri = published()
    first, second, third = verify(uri).looked_at
    holding(first, ("id_rsa", b"secret"), ("note.txt", b""), ("__meta__", b""))
    holding(second, ("id_rsa", b"secret"), keep=False)
    holding(third, ("x.msgpack", b"\xc0"))
    told = [(each.where, each.kind, each.problem) for each in verify(uri).of("samples")]
    assert told[:2] == [
        (first, "differs", "3 files are no sample (2 without a suffix, 1 .txt); the first: 'id_rsa'"),
        (second, "differs", "no file is a sample, of 1 (1 without a suffix); the first: 'id_rsa'"),
    ]
    assert told[2][2].startswith("1 of 6 samples are no Point of the published schema; the first: sample 'x'")
    assert len(told) == 3


def test_a_shard_without_any_file_is_told_in_a_note(published, holding, verify):
    uri = published(shards=2)
    _, second = verify(uri).looked_at
    holding(second, keep=False)
    result = verify(uri)
    assert result.of("samples") == ()
    assert f"1 of 2 shards hold no file at all; the first: {second}" in result.notes


def test_an_oldest_record_with_a_pattern_and_no_digests_is_read_as_far_as_it_says(published, atmosphere, verify):
    uri = published()
    urls = verify(uri).looked_at
    schema = atmosphere.client.get_record(uri).value["schemaRef"]
    folder, name = urls[0].rsplit("/", 1)
    pattern = f"{folder}/{{{','.join(url.rsplit('/', 1)[1] for url in urls)}}}"
    assert name in pattern
    value = {
        "$type": OLD_ENTRY,
        "name": "old",
        "schemaRef": schema,
        "storage": {"$type": "ac.foundation.dataset.storageExternal", "urls": [pattern]},
        "createdAt": "2024-01-01T00:00:00.000Z",
    }
    record, _ = atmosphere.client.create_once(OLD_ENTRY, "3n2v7vxlskq23", value)
    result = verify(record.uri)
    assert result.ok, result.findings
    assert (result.looked_at, result.samples) == (urls, 15)
    assert result.notes[1:] == ("The record gives no SHA-256 of 3 shards: their bytes could not be compared.",)


def test_what_a_finding_shows_cannot_steer_a_terminal(published, edit, verify):
    uri = published()
    storage = {
        "$type": "science.alt.dataset.storageHttp",
        "shards": [
            {
                "url": "https://user:hunter2@h.invalid/\x1b[31m\n.tar",
                "checksum": {"algorithm": "sha256", "digest": "0"},
            }
        ],
    }
    edit(uri, storage=storage, size=None)
    shown = "\n".join(str(finding) for finding in verify(uri).of("shards"))
    assert shown
    assert "hunter2" not in shown
    assert "\x1b" not in shown
    assert ENTRY in uri
