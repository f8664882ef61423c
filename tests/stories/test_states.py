"""States are worked out from index, records and ledger, and are true whatever was lost."""

from dataclasses import replace

import pytest

from atdata_core.atmosphere.record_format.record_keys import LABEL
from tests.stories.conftest import Visibility

# Each story goes through the library, the command and Dagster, on the reference PDS.
pytestmark = pytest.mark.slow

NUMBERS = list(range(6))


def test_after_redis_was_lost_states_are_true_and_the_lab_has_its_datasets_again(lab):
    team = lab.component()
    first = lab.insert("cells", metadata={"n": 1})
    with lab.publishing_to(lab.public, lab.public_url):
        lab.does("promote", "cells", "--license", "MIT")
    lab.insert("more", 10)
    assert lab.tick(team)["more"]
    standing = Visibility((None, None, "MIT"), "public", NUMBERS, "published", "all", "ok", True)
    more = replace(standing, values=(None, None, None), strangers=list(range(10, 16)))
    assert (lab.seen("cells"), lab.seen("more")) == (standing, more)

    # Redis is lost, and one of them inserted again: the run of before counts for nothing.
    lab.index.redis.flushdb()
    lab.insert("more", 10)
    assert lab.tick(team) == {"more": True}
    assert lab.tick(team) == {}
    assert lab.seen("more") == more
    records = {name: lab.record(lab.uri(name)) for name in ("cells", "more")}

    # Lost once more: reconcile tells whose records they are, and takes back what is asked for.
    lab.index.redis.flushdb()
    told = lab.does("reconcile")
    # Inserted again they were other data, with a record of their own.
    assert told.splitlines()[-1] == "5 records looked at: 3 orphaned"
    assert lab.seen("cells").status is None
    lab.does("reconcile", "--recover")
    assert lab.index.get_entry_by_name("cells").cid == first.cid
    assert lab.index.get_entry_by_name("cells").metadata == {"n": 1}
    for name, before in (("cells", standing), ("more", more)):
        # Who reads it was not looked at since, and status says no more than it knows.
        assert lab.seen(name) == replace(before, readers=None)
    assert lab.tick(team) == {}
    assert "published and unchanged" in lab.night(team)
    assert {name: lab.record(lab.uri(name)) for name in records} == records
    lab.promote("cells")
    assert lab.seen("cells") == standing


def test_a_retraction_with_shards_leaves_no_copies_in_status_and_failures_are_told_once(lab):
    team = lab.component()
    lab.insert("cells")
    assert lab.tick(team) == {"cells": True}
    copies = lab.objects()
    with lab.publishing_to(lab.public, lab.public_url):
        told = lab.does("retract", "cells", "--shards", "--yes")
    assert "2 copies" in told
    assert (len(copies), lab.objects()) == (2, [])
    found = lab.status("cells")
    assert (found["state"], found["uri"], found["place"], found["records"], found["labels"]) == (
        "blocked",
        None,
        None,
        [],
        [],
    )
    assert not any("shards at" in step["result"] for step in found["steps"])
    assert lab.tick(team) == {}
    assert list(lab.client.iter_records(LABEL)) == []

    # Three that fail and one that waits are logged when that changes, not each tick.
    ref = lab.index.get_dataset("cells").schema_ref
    for number in range(3):
        lab.write_as_stranger(f"bad-{number}", ref, f"/etc/{number}.tar")
    lab.write_as_stranger("early", "local://schemas/some.module.Later@1.0.0", f"s3://{lab.bucket}/a.tar")
    logged: list[str] = []
    assert lab.tick(team, logged=logged) == {f"bad-{number}": False for number in range(3)}
    assert any("early" in message for message in logged)
    following: list[str] = []
    for _ in range(10):
        assert lab.tick(team, logged=following) == {}
    assert all("early" not in message for message in following)
    assert sum("bad-0" in message for message in following) <= 1
    assert {name: lab.status(name)["state"] for name in ("bad-0", "early", "cells")} == {
        "bad-0": "failed",
        "early": "waiting",
        "cells": "blocked",
    }
