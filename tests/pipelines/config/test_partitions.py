"""How many datasets can be partitions, and what becomes of those beyond."""

import logging
from types import SimpleNamespace

import pytest

from atdata_core.errors import DatasetNameError
from atdata_core.local import LocalDatasetEntry
from atdata_pipelines.config import partitions
from atdata_pipelines.config.partitions import MOST, PartitionLimitError, add_keys, count_keys, divided
from atdata_pipelines.config.settings import Settings
from atdata_pipelines.jobs.planner import PlannedPromotions, Wanted


def keys(instance):
    return set(instance.get_dynamic_partitions("dataset"))


@pytest.fixture
def room_for_three(monkeypatch):
    monkeypatch.setattr(partitions, "MOST", 3)


def test_a_hundred_thousand_datasets_are_partitions_and_not_one_more(instance):
    # Seconds, for that many.
    add_keys(instance, (f"d{number}" for number in range(MOST)))
    assert count_keys(instance) == 100_000
    with pytest.raises(PartitionLimitError, match="100,000 datasets are partitions and 1 more"):
        add_keys(instance, ["one-more"])
    add_keys(instance, ["d0", "d99999"])
    assert count_keys(instance) == 100_000


def test_what_does_not_fit_as_a_whole_is_not_added_in_part(empty_instance, room_for_three):
    add_keys(empty_instance, ["a", "b"])
    with pytest.raises(PartitionLimitError, match="atdata-pipelines prune") as refused:
        add_keys(empty_instance, ["a", "c", "d"])
    assert (refused.value.there, refused.value.new, refused.value.most) == (2, 2, 3)
    with pytest.raises(DatasetNameError):
        add_keys(empty_instance, ["c", "x...y"])
    assert keys(empty_instance) == {"a", "b"}


def test_the_way_out_of_a_component_is_its_own(empty_instance, room_for_three):
    settings = Settings(key_prefix=("lab", "images"))
    with pytest.raises(PartitionLimitError, match="`atdata-pipelines prune --key-prefix lab/images` removes"):
        add_keys(empty_instance, "abcd", settings)
    assert "--key-prefix lab/images" in divided(empty_instance, "abcd", settings)[1]["d"]


def test_names_said_twice_or_known_take_no_room(empty_instance, room_for_three):
    add_keys(empty_instance, ["a", "a", "b"])
    add_keys(empty_instance, ["b", "c", "c", "a"])
    assert keys(empty_instance) == {"a", "b", "c"}
    assert divided(empty_instance, ["a", "b"]) == ([], {})


def test_automation_goes_on_with_what_has_room_and_names_the_rest(empty_instance, room_for_three):
    add_keys(empty_instance, ["a", "b"])
    wanted = {name: Wanted(name, LocalDatasetEntry(name, "", ["s3://b/k"]), name) for name in "acde"}
    found = PlannedPromotions(keys=list("acde"), runs=[wanted[name] for name in "acd"], later=[wanted["e"]])
    assert found.new_keys(empty_instance) == ["c"]
    assert (found.runs, found.later) == ([wanted["a"], wanted["c"]], [])
    assert "d (there are 3 partitions already; `atdata-pipelines prune`" in found.summary()
    logged = []
    found.say(SimpleNamespace(warning=logged.append, info=logging.info))
    assert [line.partition(" (")[0] for line in logged] == ["Cannot be promoted: d"]
