"""A claim that somebody else may have written is checked against the bytes before it is published."""

from dataclasses import replace

import pytest

from atdata_core.local.shard_claims import claims_key, encoded
from tests.stories.conftest import Visibility

# Each story goes through the library, the command and Dagster, on the reference PDS.
pytestmark = pytest.mark.slow

NUMBERS = list(range(6))


def forge(lab, entry, **false):
    """What anybody can write who reaches the lab's Redis."""
    url, claim = next(iter(lab.index.shard_claims(entry.cid).items()))
    lab.index.redis.hset(claims_key(entry.cid), url, encoded(replace(claim, **false)))


def test_a_false_digest_is_published_by_nobody_before_or_after_the_first_publication(lab):
    team = lab.component()
    entry = lab.insert("cells")
    honest = next(iter(lab.index.shard_claims(entry.cid).values()))
    forge(lab, entry, sha256="f" * 64)
    assert lab.tick(team) == {"cells": False}
    assert not lab.bulk("cells")
    for words in (("plan",), ("promote",)):
        assert "does not hold what is recorded of it" in lab.refusal(*words, "cells")
    assert (lab.names_published(), lab.objects()) == ([], [])
    assert lab.seen("cells") == Visibility(status="failed")
    assert "does not hold what is recorded of it" in lab.status("cells")["reason"]

    # What was claimed wrongly is withdrawn: the bytes alone tell.
    lab.index.redis.delete(claims_key(entry.cid))
    assert lab.bulk("cells", settings=team)
    standing = Visibility((None, None, None), "public", NUMBERS, "published", "all", "ok", True)
    assert lab.seen("cells") == standing
    named = [shard.get("checksum", shard) for shard in lab.record(lab.uri("cells"))["storage"]["shards"]]
    assert honest.sha256 in str(named[0])

    # Falsified later, it makes nothing else of what stands.
    storage = lab.record(lab.uri("cells"))["storage"]
    forge(lab, entry, sha256="e" * 64)
    assert lab.tick(team) == {}
    assert "does not hold what is recorded of it" in lab.refusal("promote", "cells", "--license", "MIT")
    assert lab.record(lab.uri("cells"))["storage"] == storage
    assert lab.seen("cells") == replace(standing, status="failed")
    lab.index.redis.delete(claims_key(entry.cid))
    with lab.publishing_to(lab.public, lab.public_url):
        lab.does("promote", "cells", "--license", "MIT")
    assert lab.seen("cells") == replace(standing, values=(None, None, "MIT"))


def test_a_false_count_of_samples_and_claims_of_another_machine_are_read_once(lab, tmp_path, monkeypatch):
    entry = lab.insert("cells")
    forge(lab, entry, samples=5_000)
    # What another machine of the lab has inserted, this one has to read.
    monkeypatch.setenv("ATDATA_STATE_DIR", str(tmp_path / "another"))
    with lab.publishing_to(lab.public, lab.public_url):
        assert lab.night() is True
    assert lab.record(lab.uri("cells"))["size"]["samples"] == 6
    found = lab.status("cells")
    assert (found["state"], found["samples"]) == ("published", 6)
    assert lab.seen("cells").strangers == NUMBERS
    assert lab.verified("cells")["samples"] == 6
