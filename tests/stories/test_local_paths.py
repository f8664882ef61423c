"""Files of this machine are its owner's: a stranger who names one in Redis publishes nothing of it."""

from dataclasses import replace

import pytest

from tests.stories.conftest import Cell, Visibility

# Each story goes through the library, the command and Dagster, on the reference PDS.
pytestmark = pytest.mark.slow

NUMBERS = list(range(6))
SAMPLES = {f"{number:03d}": Cell(number=number).as_wds for number in NUMBERS}
KEY = {"id_rsa": b"-----BEGIN OPENSSH PRIVATE KEY-----"}


def test_a_tar_with_a_private_key_that_a_stranger_named_leaves_this_machine_by_no_way(lab, monkeypatch):
    team = lab.component()
    ref = lab.index.publish_schema(Cell)
    path = lab.pack(SAMPLES, **KEY)
    cid = lab.write_as_stranger("theirs", ref, str(path))
    assert lab.tick(team) == {"theirs": False}
    assert lab.tick(team) == {}
    assert not lab.bulk("theirs", settings=team)
    for words in (("plan",), ("promote",)):
        assert "ATDATA_LOCAL_FOLDERS" in lab.refusal(*words, "theirs")
    assert lab.seen("theirs") == Visibility(status="failed")

    # A folder that is named opens the way for samples, not for what lies beside them.
    monkeypatch.setenv("ATDATA_LOCAL_FOLDERS", str(path.parent))
    for words in (("plan",), ("promote",)):
        refused = lab.refusal(*words, "theirs")
        assert "id_rsa" in refused
        assert "OPENSSH" not in refused
    assert not lab.bulk("theirs", settings=team)
    assert (lab.names_published(), lab.objects()) == ([], [])
    assert "id_rsa" in lab.status("theirs")["reason"]

    # In its place a tar of samples alone, in that folder.
    lab.index.redis.delete(f"LocalDatasetEntry:{cid}")
    clean = lab.pack(SAMPLES)
    lab.write_as_stranger("theirs", ref, f"file://{clean}")
    assert lab.bulk("theirs", settings=team)
    assert lab.seen("theirs") == Visibility((None, None, None), "public", NUMBERS, "published", "all", "ok", True)
    # The same, no longer named: what is published stands, and nothing is read here any more.
    monkeypatch.delenv("ATDATA_LOCAL_FOLDERS")
    assert lab.tick(team) == {}
    assert "ATDATA_LOCAL_FOLDERS" in lab.refusal("promote", "theirs", "--license", "MIT")
    assert lab.seen("theirs").strangers == NUMBERS


def test_a_key_that_somebody_puts_into_a_published_shard_is_told_and_an_empty_shard_is(lab):
    lab.insert("cells")
    with lab.publishing_to(lab.public, lab.public_url):
        lab.does("promote", "cells")
    standing = Visibility((None, None, None), "public", NUMBERS, "published", "all", "ok", True)
    assert lab.seen("cells") == standing
    copy = lab.objects()[0]
    good = lab.s3.get_object(Bucket=lab.public, Key=copy)["Body"].read()
    lab.s3.put_object(Bucket=lab.public, Key=copy, Body=lab.pack(SAMPLES, **KEY).read_bytes())
    problems = [each["problem"] for each in lab.verified("cells")["findings"]]
    assert any("id_rsa" in problem for problem in problems)
    assert lab.checks("cells")["samples_of_published_schema"] is False
    lab.s3.put_object(Bucket=lab.public, Key=copy, Body=good)
    assert lab.seen("cells") == standing

    # This process names its own file, and one shard of it has no samples.
    ref = lab.index.publish_schema(Cell)
    for number, path in enumerate((lab.pack(SAMPLES), lab.pack({}))):
        lab.s3.upload_file(str(path), lab.bucket, f"{number}.tar")
    lab.write_as_stranger("half", ref, *(f"s3://{lab.bucket}/{number}.tar" for number in range(2)))
    with lab.publishing_to(lab.public, lab.public_url):
        told = lab.does("plan", "half")
        assert "1.tar holds no samples" in told
        assert lab.tick()["half"]
    assert lab.seen("half") == replace(standing, verify="ok")
    [note] = lab.verified("half")["notes"]
    assert note.startswith("1 of 2 shards hold no file at all")
