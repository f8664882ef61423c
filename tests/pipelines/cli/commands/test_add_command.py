"""``atdata-pipelines add``: tars of this machine become a dataset that can be promoted."""

import json
import tarfile

import pytest

from atdata_core.errors import EntryNotFoundError, SchemaConflictError
from atdata_core.local.s3_store import MAX_COUNT, MAX_SIZE
from atdata_core.shards.tar_samples import ShardWriter

SOURCE = """
import atdata

@atdata.packable
class {name}:
    {fields}
"""


@pytest.fixture
def made(lab, command, tmp_path, monkeypatch):
    """Tars in a folder, and a module with their type, where the command is started."""
    monkeypatch.setattr("sys.path", [str(tmp_path), *__import__("sys").path])
    monkeypatch.setenv("ATDATA_BUCKET", f"{lab.bucket}/added")
    (tmp_path / "cells.py").write_text(SOURCE.format(name="Cell", fields="number: int\n    word: str"))
    import cells

    folder = tmp_path / "shards"
    folder.mkdir()
    for tar in range(2):
        with (folder / f"{tar}.tar").open("wb") as file, ShardWriter(file) as shard:
            for number in range(3):
                cell = cells.Cell(number=number, word=f"w{tar}")
                shard.write({**cell.as_wds, "__key__": f"{tar}-{number}"})
    yield folder
    del __import__("sys").modules["cells"]


def test_a_folder_of_tars_becomes_a_dataset_that_can_be_promoted(lab, made, command):
    result = command("add", "cells", "shards", "--type", "cells:Cell")
    assert result.exit_code == 0, result.output
    first, url = result.stdout.splitlines()
    assert first.startswith("cells: added 1 shard, 6 samples, ")
    assert first.endswith(", out of 2 tars")
    assert url.strip().startswith(f"s3://{lab.bucket}/added/")
    assert result.stderr == "Publish it: atdata-pipelines promote cells\n"
    entry = lab.index.get_entry_by_name("cells")
    assert lab.index.get_schema(entry.schema_ref)["name"] == "Cell"
    assert command("status", "cells").stdout.startswith("cells: due\n")
    assert command("promote", "cells").stdout.startswith("cells: created at://")


def test_tars_are_named_one_by_one_and_told_in_json(lab, made, command):
    result = command("add", "cells", "shards/1.tar", "--type", "cells:Cell", "--to", f"{lab.bucket}/else", "--json")
    found = json.loads(result.stdout)
    assert (found["name"], found["samples"], found["shards"]) == ("cells", 3, 1)
    assert found["data_urls"][0].startswith(f"s3://{lab.bucket}/else/")
    assert found["cid"] == lab.index.get_entry_by_name("cells").cid


def test_tars_of_plain_files_are_refused_with_what_is_expected_and_a_page(lab, made, command, tmp_path):
    with tarfile.open(tmp_path / "plain.tar", "w") as tar:
        for name in ("0.jpg", "0.json"):
            (tmp_path / name).write_bytes(b"{}")
            tar.add(tmp_path / name, name)
    result = command("add", "cells", "plain.tar", "--type", "cells:Cell")
    assert result.exit_code == 1
    assert "KEY.msgpack" in result.stderr
    assert "the tutorial" in result.stderr
    assert lab.index.list_datasets() == []
    told = " ".join(command("add", "--help").stdout.split())
    assert "the tutorial" in told
    assert f"up to {MAX_COUNT:,} samples and {MAX_SIZE >> 30} GiB" in told


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("cells", "names no class. Write MODULE:CLASS"),
        ("nowhere:Cell", "cannot be imported"),
        ("cells:Other", "cells has no class Other"),
    ],
)
def test_a_type_that_is_none_is_a_mistake_in_typing(made, command, kind, why):
    result = command("add", "cells", "shards", "--type", kind)
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in " ".join(result.stderr.split())


def test_what_cannot_be_stored_leaves_nothing_behind(lab, made, command, objects, tmp_path):
    (tmp_path / "others.py").write_text(SOURCE.format(name="Other", fields="height: float"))
    (tmp_path / "empty").mkdir()
    wrong = command("add", "cells", "shards", "--type", "others:Other")
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("Error: ")
    assert command("add", "cells", "empty", "--type", "cells:Cell").exit_code == 2
    assert command("add", "cells", "not-there", "--type", "cells:Cell").exit_code == 2
    with pytest.raises(EntryNotFoundError):
        lab.index.get_entry_by_name("cells")
    assert not [key for key in objects(lab.bucket) if key.startswith("added/")]


def test_without_a_bucket_the_error_names_the_option_and_the_variable_that_name_one(made, command, monkeypatch):
    monkeypatch.delenv("ATDATA_BUCKET")
    result = command("add", "cells", "shards", "--type", "cells:Cell")
    assert result.exit_code == 2
    assert "--to" in result.stderr
    assert "ATDATA_BUCKET" in result.stderr


def test_a_class_that_changed_names_the_call_that_publishes_its_schema(lab, made, command, tmp_path):
    assert command("add", "cells", "shards", "--type", "cells:Cell").exit_code == 0
    import cells

    import atdata_core as atdata

    class Cell:
        number: int

    Cell.__module__ = "cells"
    with pytest.raises(SchemaConflictError, match="publish_schema"):
        lab.index.schema_ref_for(atdata.packable(Cell))
    assert cells
