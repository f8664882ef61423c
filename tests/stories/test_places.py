"""Where shards lie: what anonymous readers can read they can read until somebody says otherwise."""

from dataclasses import replace

import pytest

from tests.stories.conftest import Visibility

# Each story goes through the library, the command and Dagster, on the reference PDS.
pytestmark = pytest.mark.slow

NUMBERS = list(range(6))
PRIVATE = "2 of 2 cannot be read: needs a key"


def test_a_public_dataset_stays_public_whoever_promotes_it_from_wherever(lab):
    team = lab.component()
    lab.insert("cells")
    assert lab.plan("cells")["readers"][2] == "those who have keys"

    # The instance with a destination publishes it.
    assert lab.tick(team) == {"cells": True}
    public = Visibility((None, None, None), "public", NUMBERS, "published", "all", "ok", True)
    assert lab.seen("cells") == public

    # A license from a shell that names no bucket.
    assert lab.plan("cells", "--license", "CC0-1.0") | {"license": 0, "tags": 0, "description": 0} == {
        "description": 0,
        "tags": 0,
        "license": 0,
        "shards": (None, *[lab.plan("cells")["shards"][2]] * 2, "published so before"),
        "readers": (None, "anybody", "anybody", "where the shards lie"),
    }
    uri = lab.uri("cells")
    copies, storage = lab.objects(), lab.record(uri)["storage"]
    assert lab.does("promote", "cells", "--license", "CC0-1.0") == f"cells: updated {uri}\n"
    public = replace(public, values=(None, None, "CC0-1.0"))
    assert lab.seen("cells") == public
    assert (lab.record(uri)["storage"], lab.objects()) == (storage, copies)

    # Every other way that knows of no bucket, and the one that does.
    assert lab.bulk("cells")
    assert "published and unchanged" in lab.night()
    assert lab.promote("cells") == uri
    assert lab.tick() == lab.tick(team) == {}
    assert lab.seen("cells") == public

    # A bucket that is closed: refused by all, and said so.
    with lab.publishing_to(lab.closed):
        assert lab.plan("cells")["readers"][1:3] == ("anybody", "known once they are copied")
        assert "cannot be read anonymously, as that can" in lab.refusal("promote", "cells")
        assert not lab.bulk("cells")
    assert lab.seen("cells") == replace(public, status="failed")
    assert lab.promote("cells") == uri

    # In so many words; and what was said holds for the instance with a bucket.
    assert lab.plan("cells", "--keep-urls")["readers"][1:3] == ("anybody", "those who have keys")
    lab.does("promote", "cells", "--keep-urls")
    private = replace(
        public, lies="lab", strangers="ShardForbiddenError", readers=PRIVATE, verify="private", public=False
    )
    assert lab.seen("cells") == private
    assert lab.tick(team) == {}
    assert "published and unchanged" in lab.night(team)

    # Until somebody says otherwise.
    lab.does("promote", "cells", "--no-keep-urls")
    assert lab.tick(team) == {"cells": True}
    assert lab.seen("cells") == public


def test_what_does_not_lie_where_its_instance_says_is_due_and_new_data_never_leave_copies_without_a_word(lab):
    team = lab.component()
    lab.insert("cells")
    lab.does("promote", "cells")
    private = Visibility((None, None, None), "lab", "ShardForbiddenError", "published", PRIVATE, "private", False)
    assert lab.seen("cells") == private
    with lab.publishing_to(lab.public, lab.public_url):
        assert lab.status("cells")["state"] == "promote"
        assert lab.public in lab.status("cells")["reason"]
        assert lab.plan("cells")["shards"][3] == "the data store"

    assert lab.night(team) is True
    public = replace(private, lies="public", strangers=NUMBERS, readers="all", verify="ok", public=True)
    assert lab.seen("cells") == public
    assert lab.tick(team) == {}

    # New data: nobody here knows of the bucket, and no way publishes them where anonymous readers cannot read them.
    lab.insert("cells", 10)
    assert lab.tick() == {"cells": False}
    assert not lab.bulk("cells")
    for words in (("plan",), ("promote",)):
        assert "--keep-urls" in lab.refusal(*words, "cells")
    assert lab.seen("cells") == replace(public, status="failed")

    assert lab.bulk("cells", settings=team)
    assert lab.seen("cells") == replace(public, strangers=list(range(10, 16)))
