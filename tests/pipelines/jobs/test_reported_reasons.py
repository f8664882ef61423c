"""The sensor tells a reason when it is new or has changed, and not each tick."""

import json
from datetime import timedelta

import dagster as dg
import pytest

from atdata_core.promotion.scheduling.retry_policy import failed
from atdata_core.state.index_state import state_of
from atdata_pipelines.jobs import planner
from atdata_pipelines.jobs.planner import ReportedReasons

TICKS = 8
"""Dagster takes half a second to make the context of one."""


@pytest.fixture
def three(lab):
    """One dataset that waits for its schema, one that is given up, and one whose metadata make no sense."""
    lab.insert("waits", schema=False)
    entry = lab.insert("gives-up", start=6, schema=False)
    lab.register("odd", entry.data_urls, {"promote": "no"})
    return lab


def test_what_stays_as_it_is_is_told_once(three, tick, clock):
    sizes = []
    for _ in range(TICKS):
        sizes.append(len(tick().skip_message) + sum(map(len, tick.state.logged)))
        clock.passes(timedelta(seconds=30))
    assert sizes[0] > 300
    assert tick().skip_message == (
        "0 datasets looked at are published and unchanged; as told before: 1 refused, 2 waiting"
    )
    assert tick.state.logged == []
    # In 35 minutes.
    assert sizes[0] + 69 * max(sizes[1:]) < 10_000


def test_a_reason_that_changed_is_told_at_once_and_a_time_alone_is_no_change(lab, tick, clock):
    entry = lab.insert("pictures")

    def fails(why):
        failed(state_of(lab.index).ledger, "pictures", "local_dataset", OSError(why), entry=entry)
        return tick().skip_message

    assert "failed, tried again later: pictures (not before " in fails("disk")
    assert "as told before: 1 failed" in tick().skip_message
    assert "as told before: 1 failed" in fails("disk")
    assert "pictures (not before " in fails("cable")
    assert any("OSError: cable" in line for line in tick.state.logged)


def test_what_was_mended_and_fails_again_is_told_again(lab, tick, clock):
    entry = lab.insert("pictures")
    failed(state_of(lab.index).ledger, "pictures", "local_dataset", OSError("disk"), entry=entry)
    assert "OSError: disk" in tick().skip_message
    clock.passes(timedelta(minutes=5))
    assert len(tick().run_requests) == 1
    failed(state_of(lab.index).ledger, "pictures", "local_dataset", OSError("disk"), entry=entry)
    assert "OSError: disk" in tick().skip_message


def test_a_walk_that_comes_round_does_not_make_old_reasons_news(three, tick, monkeypatch):
    monkeypatch.setattr("atdata_pipelines.automation.ticks.NAMES_A_TICK", 1)
    told_first = [tick().skip_message for _ in range(5)]
    assert sum("waiting: " in said for said in told_first) == 2
    assert sum("cannot be promoted: " in said for said in told_first) == 1
    said_again = [(tick().skip_message, *tick.state.logged) for _ in range(4)]
    assert all(len(said) == 1 and "(" not in said[0] for said in said_again)


def test_more_than_one_line_names_are_told_over_the_next_ticks(lab, tick):
    entry = lab.insert("d00", schema=False)
    names = {f"d{number:02d}" for number in range(50)}
    for name in names:
        lab.register(name, entry.data_urls)
    said = [tick().skip_message for _ in range(4)]
    assert [message.count("waits for its schema") for message in said] == [20, 20, 10, 0]
    assert "and 30 more" in said[0]
    assert "as told before: 50 waiting" in said[3]


def test_a_cursor_that_was_edited_by_hand_keeps_its_position(three, tick):
    tick()
    position = {key: value for key, value in json.loads(tick.state.cursor).items() if key != "told"}
    for what in ["[]", '"x"', "5", '{"a": null}', '{"a": {"b": []}}', '{"\\ud800": "\\ud800"}']:
        tick.state.cursor = json.dumps(position)[:-1] + f', "told": {what}}}'
        assert "waiting: " in tick().skip_message, what
        assert json.loads(tick.state.cursor)["event"] == position["event"], what
        assert "as told before: 1 refused, 2 waiting" in tick().skip_message, what


def test_a_cursor_of_before_tells_everything_once(three, tick):
    tick()
    said = json.loads(tick.state.cursor)
    tick.state.cursor = json.dumps({"event": said["event"], "name": said["name"]})
    assert "waiting: " in tick().skip_message


def test_what_is_remembered_is_bounded_and_the_oldest_is_forgotten():
    remembered = ReportedReasons()
    for number in range(planner.REMEMBERED + 5):
        remembered.keep(f"{'long' * 50}-{number}", "waiting: " + "why " * 1_000)
    digests = remembered.digests()
    assert len(digests) == planner.REMEMBERED
    assert len(json.dumps(digests)) < 30_000
    again = ReportedReasons.of(json.loads(json.dumps(digests)))
    assert not again.has(f"{'long' * 50}-0", "waiting: " + "why " * 1_000)
    assert again.has(f"{'long' * 50}-{planner.REMEMBERED}", "waiting: " + "why " * 1_000)
    again.forget([f"{'long' * 50}-{planner.REMEMBERED}"])
    assert not again.has(f"{'long' * 50}-{planner.REMEMBERED}", "waiting: " + "why " * 1_000)


def test_a_run_under_way_is_told_once(lab, tick, empty_instance):
    lab.insert("pictures")
    [request] = tick().run_requests
    tags = {
        "dagster/run_key": request.run_key,
        "dagster/sensor_name": "new_datasets",
        "dagster/partition": "pictures",
    }
    run = empty_instance.add_run(dg.DagsterRun("promote", status=dg.DagsterRunStatus.STARTED, tags=tags))
    try:
        assert "under way: pictures (run " in tick().skip_message
        assert "as told before: 1 under way" in tick().skip_message
    finally:
        empty_instance.delete_run(run.run_id)
