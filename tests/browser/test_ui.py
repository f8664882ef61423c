"""What people do in Dagster's UI, done in a browser: `make browser`. Pictures are kept in .artifacts/browser."""

import pytest

from atdata_pipelines.config.settings import STAGES

pytestmark = pytest.mark.browser
DESCRIPTION = "Digits, described in the dialog"


@pytest.fixture(scope="module")
def promoted(ui, lab):
    """A dataset that was added and promoted in the UI; how its run ended."""
    lab.insert("digits")
    ui.open_graph()
    dialog = ui.materialize()
    ui.add_partition(dialog, "digits")
    ui.keep("2-partition-added")
    dialog.get_by_role("button", name="Cancel").click()
    ui.open_job("promote")
    ui.choose_partition("digits")
    ui.say("description", DESCRIPTION)
    ui.say("tags", "[handwriting, small]")
    ui.keep("2-launchpad")
    ui.launch()
    state = ui.end_of_run()
    ui.keep("2-run")
    return state


def test_the_four_stages_stand_in_a_line(ui):
    ui.open_graph()
    places = []
    for stage in STAGES:
        box = ui.page.get_by_text(stage, exact=True).bounding_box()
        places.append((box["x"], box["y"]))
    ui.keep("1-graph")
    assert [x for x, _ in places] == sorted({x for x, _ in places})
    assert max(y for _, y in places) - min(y for _, y in places) < 5


def test_a_dataset_is_promoted_with_what_is_said_in_the_dialog(promoted, lab):
    assert promoted == "Success"
    record = lab.published()["digits"]
    assert record["description"] == DESCRIPTION
    assert record["tags"] == ["handwriting", "small"]


def test_the_materialisation_shows_pictures_of_samples(ui, promoted):
    ui.open_partition("local_dataset", "digits")
    ui.keep("3-local-dataset")
    ui.told("preview").get_by_text("Show Markdown").click()
    dialog = ui.page.get_by_role("dialog").filter(has_text="preview")
    picture = dialog.locator("img").first
    picture.wait_for()
    ui.keep("3-preview")
    assert picture.get_attribute("src").startswith("data:image/png;base64,")
    assert picture.evaluate("picture => picture.naturalWidth") > 0


def test_the_materialisation_shows_the_at_uri(ui, promoted, lab):
    ui.open_partition("atmosphere_record", "digits")
    ui.keep("3-record")
    uri = lab.published()["digits"]["uri"]
    assert ui.told("at_uri").inner_text() == uri
    ui.told("overview").get_by_text("Show Markdown").click()
    panel = ui.page.get_by_role("dialog").filter(has_text="overview")
    panel.get_by_text(DESCRIPTION).wait_for()
    ui.keep("3-overview")
    assert uri in panel.inner_text()


def test_a_stage_reruns_alone_and_says_that_nothing_changed(ui, promoted, lab):
    before = lab.published()["digits"]
    ui.open_partition("copied_shards", "digits")
    assert ui.told("changed").inner_text() == "first time"
    dialog = ui.materialize()
    dialog.get_by_role("button", name="Launch 1 run").click()
    ui.view_launched()
    assert ui.end_of_run() == "Success"
    ui.keep("4-run-of-a-stage")
    ui.open_partition("copied_shards", "digits")
    ui.keep("4-nothing-changed")
    assert ui.told("changed").inner_text() == "nothing"
    assert ui.told("copied").inner_text() == "0"
    events = {}
    for stage in STAGES:
        ui.open_partition(stage, "digits")
        events[stage] = ui.events()
    assert events == dict.fromkeys(STAGES, 1) | {"copied_shards": 2}
    assert lab.published()["digits"] == before


def test_a_bulk_of_twenty_names_the_broken_one_and_marks_the_others(ui, lab):
    names = [lab.insert(f"many-{number:02d}") for number in range(20)]
    broken = names[7]
    lab.lose(broken)
    ui.open_partitions("atmosphere_record")
    before = ui.count("Materialized")
    assert ui.count("Failed") == 0
    ui.open_job("promote_many")
    ui.say("pattern", "many-*")
    ui.keep("5-launchpad")
    ui.launch()
    assert ui.end_of_run() == "Failure"
    ui.filter_log("type:STEP_FAILURE")
    table = ui.page.get_by_role("table").filter(has_text="failed_table").get_by_role("table")
    row = table.get_by_role("row").filter(has_text="many-")
    row.first.wait_for()
    ui.keep("5-run")
    assert row.count() == 1
    assert row.get_by_role("cell").all_inner_texts()[:2] == [broken, "local_dataset"]
    assert "does not exist" in row.inner_text()
    for stage in STAGES:
        ui.open_partitions(stage)
        assert ui.count("Materialized") == before + 19
        # A run marks partitions as materialised alone: the broken one stays missing, and the table says why.
        assert (ui.count("Failed"), ui.count("Missing") > 0) == (0, True)
    ui.page.get_by_placeholder("Filter by name").fill("many-")
    ui.keep("5-marks")
    ui.page.get_by_text("Materialized (").click()
    ui.page.get_by_text(names[0], exact=True).first.wait_for(state="hidden")
    assert set(ui.page.get_by_text("many-").all_inner_texts()) == {broken}
    assert lab.published().keys() >= {*names} - {broken}
    assert broken not in lab.published()


def test_a_backfill_runs_each_partition_in_a_run_of_its_own(ui, lab, known):
    names = [lab.insert(f"later-{number}") for number in range(3)]
    known(names)
    ui.open_graph()
    dialog = ui.materialize()
    dialog.get_by_text("Select a partition or create one").click()
    dialog.get_by_placeholder("Filter partitions").fill("later-")
    dialog.get_by_role("menuitem", name="Select all (3)").click()
    dialog.get_by_text("Launch runs to materialize").click()
    ui.keep("6-selected")
    dialog.get_by_role("button", name="Launch backfill").click()
    ui.view_launched()
    ui.end_of_backfill(3)
    ui.keep("6-runs")
    for name in names:
        assert ui.page.get_by_text(f"partition: {name}").first.is_visible()
    assert lab.published().keys() >= {*names}
