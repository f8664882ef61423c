"""What people said of a name holds for the data that follow, and ``plan`` tells where each value is from."""

from dataclasses import replace

import pytest

from tests.stories.conftest import Visibility

# Each story goes through the library, the command and Dagster, on the reference PDS.
pytestmark = pytest.mark.slow

NUMBERS = list(range(6))
SAID = ("--license", "CC0-1.0", "--tag", "table", "--description", "first")
FIRST = ("first", ["table"], "CC0-1.0")
EARLIER = "said before, of an earlier entry"


def numbers(start):
    return list(range(start, start + 6))


def test_new_data_keep_what_was_said_by_whatever_way_they_are_promoted(lab):
    team = lab.component()
    lab.insert("cells")
    assert lab.plan("cells", *SAID)["license"] == ("CC0-1.0", None, "CC0-1.0", "asked now")
    with lab.publishing_to(lab.public, lab.public_url):
        lab.does("promote", "cells", *SAID)
    first = lab.uri("cells")
    standing = Visibility(FIRST, "public", NUMBERS, "published", "all", "ok", True)
    assert lab.seen("cells") == standing
    assert lab.plan("cells")["license"] == (None, "CC0-1.0", "CC0-1.0", "said before")

    # New data: by the sensor.
    lab.insert("cells", 10)
    assert lab.status("cells")["state"] == "due"
    with lab.publishing_to(lab.public, lab.public_url):
        rows = lab.plan("cells")
    assert [rows[name][1:] for name in ("description", "tags", "license")] == [
        ("first", "first", EARLIER),
        (["table"], ["table"], EARLIER),
        ("CC0-1.0", "CC0-1.0", EARLIER),
    ]
    assert lab.tick(team) == {"cells": True}
    assert lab.uri("cells") != first
    assert lab.seen("cells") == replace(standing, strangers=numbers(10))

    # By the schedule, with metadata that say one of them.
    lab.insert("cells", 20, metadata={"license": "MIT"})
    with lab.publishing_to(lab.public, lab.public_url):
        assert lab.plan("cells")["license"] == (None, "CC0-1.0", "MIT", "the entry's metadata")
    assert lab.night(team) is True
    assert lab.seen("cells") == replace(standing, values=("first", ["table"], "MIT"), strangers=numbers(20))

    # By the bulk: of metadata nobody says that they hold on.
    lab.insert("cells", 30)
    assert lab.bulk("cells", settings=team)
    assert lab.seen("cells") == replace(standing, strangers=numbers(30))

    # Somebody clears a value, which holds on, too; and refused words were not said.
    lab.refusal("promote", "cells", "--license", "none that SPDX knows", "--require-license")
    lab.does("promote", "cells", "--description", "", "--tag", "b")
    cleared = replace(standing, values=(None, ["b"], "CC0-1.0"), strangers=numbers(30))
    assert lab.seen("cells") == cleared
    lab.insert("cells", 40)
    lab.promote("cells", data_store=lab.store)
    assert lab.seen("cells") == replace(cleared, strangers=numbers(40))

    # Redis forgets what was said: the records tell it.
    for key in lab.index.redis.scan_iter("atdata:ledger:*"):
        lab.index.redis.delete(key)
    lab.insert("cells", 50)
    assert lab.tick(team) == {"cells": True}
    assert lab.seen("cells") == replace(cleared, strangers=numbers(50))
    # And what was published first is as it was.
    assert tuple(lab.record(first).get(name) for name in ("description", "tags", "license")) == FIRST
    assert lab.stranger(first) == NUMBERS


def test_a_default_of_an_instance_is_nobodys_word_and_gives_way_to_each(lab):
    team = lab.component(license="CC-BY-4.0", tags=["team"])
    lab.insert("cells")
    assert lab.tick(team) == {"cells": True}
    standing = Visibility((None, ["team"], "CC-BY-4.0"), "public", NUMBERS, "published", "all", "ok", True)
    assert lab.seen("cells") == standing
    assert lab.status("cells")["values"] == {}
    lab.insert("cells", 10)
    with lab.publishing_to(lab.public, lab.public_url):
        assert lab.plan("cells")["license"] == (None, None, None, "nobody")
        lab.does("promote", "cells", "--tag", "said")
    assert lab.seen("cells") == replace(standing, values=(None, ["said"], None), strangers=numbers(10))
    lab.insert("cells", 20)
    assert lab.bulk("cells", settings=team)
    assert lab.seen("cells") == replace(standing, values=(None, ["said"], "CC-BY-4.0"), strangers=numbers(20))
