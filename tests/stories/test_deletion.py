"""What its owner deletes is gone from the index for everybody, and what stays on the network is told."""

from dataclasses import replace

import pytest

from tests.stories.conftest import Visibility

# Each story goes through the library, the command and Dagster, on the reference PDS.
pytestmark = pytest.mark.slow

NUMBERS = list(range(6))


def test_what_other_programs_delete_is_promoted_by_nobody_and_what_stands_of_it_is_told(lab):
    team = lab.component()
    older = lab.insert("cells")
    assert lab.tick(team) == {"cells": True}
    standing = Visibility((None, None, None), "public", NUMBERS, "published", "all", "ok", True)
    assert lab.seen("cells") == standing
    uri = lab.uri("cells")

    # New data that nobody has published yet, and then wants no more.
    newer = lab.insert("cells", 10)
    assert lab.status("cells")["state"] == "due"
    lab.index.redis.delete(f"LocalDatasetEntry:{newer.cid}")
    assert lab.index.get_entry_by_name("cells").cid == older.cid
    assert lab.seen("cells") == standing
    assert lab.tick(team) == {}

    # And the data that are published.
    lab.index.redis.delete(f"LocalDatasetEntry:{older.cid}")
    assert [lab.tick(settings) for settings in (team, lab.component(key_prefix="")) for _ in range(5)] == [{}] * 10
    assert "published and unchanged" in lab.night(team)
    assert not lab.bulk("cells", settings=team)
    for words in (("plan",), ("promote",)):
        assert "has no dataset 'cells'" in lab.refusal(*words, "cells")
    assert lab.names_published() == ["cells"]
    assert lab.seen("cells") == replace(standing, status="removed")
    assert uri in lab.does("status", "cells")

    # Its owner takes it back from the network, too; and inserts it again.
    assert uri in lab.does("retract", "cells", "--yes")
    assert (lab.record(uri), lab.uri("cells"), lab.stranger(uri)) == (None, None, "EntryNotFoundError")
    assert lab.command("verify", uri).exit_code == 3
    lab.index.register(older)
    assert lab.tick(team) == {}
    assert lab.status("cells")["state"] == "blocked"
    assert lab.promote("cells", data_store=lab.store) == uri
    assert lab.seen("cells") == standing


def test_remove_takes_all_of_a_name_and_nothing_of_others_and_says_what_stays(lab):
    entry = lab.insert("cells")
    lab.write_as_stranger("theirs", entry.schema_ref, "s3://nowhere/a.tar")
    with lab.publishing_to(lab.public, lab.public_url):
        lab.does("promote", "cells", "--license", "MIT")
        lab.does("promote", "cells", "--name", "renamed")
    uris = {lab.uri("cells"), lab.uri("renamed")}
    assert all(uri in lab.refusal("remove", "cells") + lab.command("remove", "cells").stdout for uri in uris)
    assert lab.seen("cells").status == "published"

    told = lab.does("remove", "cells", "--yes")
    assert all(uri in told for uri in uris)
    assert list(lab.index.names()) == ["theirs"]
    assert lab.seen("cells") == Visibility((None, None, "MIT"), "public", NUMBERS, "removed", "all", "ok", True)
    assert lab.seen("renamed").strangers == NUMBERS
    assert "cells" not in lab.tick()

    # The command says how it is taken back, and that works of a dataset that the index has no more.
    for name in ("cells", "renamed"):
        assert f"atdata-pipelines retract {name} --all-versions" in told
        lab.does("retract", name, "--all-versions", "--shards", "--yes")
    assert lab.names_published() == []
    found = lab.status("cells")
    assert (found["state"], found["records"], found["labels"], found["uri"]) == ("removed", [], [], None)
