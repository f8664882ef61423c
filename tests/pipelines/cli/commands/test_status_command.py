"""``atdata-pipelines status``, for one dataset and for all."""

import json


def test_one_line_a_dataset_with_its_state_and_at_uri(lab, promote, command):
    lab.insert("pictures")
    lab.insert("a-dataset-with-a-name-that-is-longer-than-a-column-has-room-for")
    lab.insert("early")
    uri = promote("pictures")
    result = command("status")
    assert result.exit_code == 0, result.output
    head, *rows = result.stdout.splitlines()
    assert head.split()[:3] == ["NAME", "STATE", "STAGE"]
    assert [row.split()[1] for row in rows] == ["due", "due", "published"]
    assert rows[-1].split()[2] == "4/4"
    assert rows[-1].endswith(f"  {uri} (private)")
    assert rows[1].endswith("is not known to be published")
    assert len({row.index(row.split()[1]) for row in rows}) == 1


def test_one_dataset_is_told_in_full(lab, promote, command):
    lab.insert("pictures")
    uri = promote("pictures", license="MIT")
    other = promote("pictures", name="renamed")
    promote("pictures")
    text = command("status", "pictures").stdout
    assert text.startswith("pictures: published\n")
    for said in (
        f"record             {uri}",
        'said license       "MIT"',
        "2 shards, ",
        "6 samples",
        f"{other}  renamed",
    ):
        assert said in text
    found = json.loads(command("status", "pictures", "--json").stdout)
    assert (found["uri"], found["state"], found["stage"]) == (uri, "published", "atmosphere_record")
    assert [each["name"] for each in [json.loads(command("status", "--json").stdout)]] == ["pictures"]


def test_the_ledger_is_told_where_the_account_cannot_be_found(lab, promote, command, monkeypatch):
    lab.insert("pictures")
    uri = promote("pictures")
    monkeypatch.delenv("ATDATA_HANDLE")
    result = command("status", "pictures")
    assert result.exit_code == 0
    assert uri in result.stdout
    assert "ATDATA_HANDLE is not set" in result.stderr


def test_an_empty_index_and_a_misspelt_name_are_said(lab, command):
    assert command("status").stdout == "The index has no datasets.\n"
    lab.insert("pictures")
    result = command("status", "pictoures")
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.endswith("Near it: pictures.")


def test_a_retracted_dataset_says_how_it_is_published_again(lab, promote, command):
    lab.insert("pictures")
    promote("pictures")
    command("retract", "pictures", "--yes")
    text = command("status", "pictures").stdout
    assert text.startswith("pictures: blocked\n")
    assert "atdata-pipelines promote pictures publishes it again" in text
    assert "blocked since" in text


def test_the_way_out_can_be_typed_as_it_is_shown(lab, promote, command):
    lab.insert("my pictures")
    promote("my pictures", name="other name")
    result = command("retract", "other name", "--yes")
    way_out = "atdata-pipelines promote 'my pictures' --name 'other name'"
    assert way_out in result.stderr
    assert f"{way_out} publishes it again" in command("status", "my pictures").stdout


def test_what_was_removed_from_the_index_is_told_in_a_whole_sentence(lab, promote, command):
    lab.insert("pictures")
    promote("pictures")
    assert command("remove", "pictures", "--yes").exit_code == 0
    state, why = command("status", "pictures").stdout.splitlines()[:2]
    assert state == "pictures: removed"
    assert why == "  the dataset is not in the index any more; what was published of it stays"
    assert command("retract", "pictures", "--yes").exit_code == 0
    assert "any more; nor is it published" in command("status", "pictures").stdout
