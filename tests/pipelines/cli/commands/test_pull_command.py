import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from atdata_core.atmosphere.record_format.record_keys import ENTRY
from libraries import library


def test_a_published_dataset_is_pulled_by_name_and_the_second_time_nothing_is_fetched(publish, account, command):
    uri = publish()
    first = command("pull", f"@{account.handle}/pictures", "here")
    assert first.exit_code == 0, first.output
    assert re.fullmatch(rf"here: 2 shards of pictures, [\d.]+ kB, [\d.]+ kB fetched {uri}\n", first.output)
    again = command("pull", uri, "here")
    assert re.fullmatch(rf"here: 2 shards of pictures, [\d.]+ kB, all there, nothing fetched {uri}\n", again.output)
    told = json.loads(command("pull", uri, "there", "--json").stdout)
    assert (told["name"], told["uri"], told["folder"], told["left"]) == ("pictures", uri, "there", [])
    assert told["fetched"] == sum(shard["size"] for shard in told["shards"]) > 0
    assert [shard["file"] for shard in told["shards"]] == [
        f"there/{shard['url'].rpartition('/')[2]}" for shard in told["shards"]
    ]
    assert all(shard["checked"] and len(shard["sha256"]) == 64 for shard in told["shards"])
    missing = command("pull", f"@{account.handle}/picture", "here")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "Near it: pictures." in missing.stderr


def test_what_did_not_come_is_named_and_ends_with_1(publish, spoil, stranger, command):
    uri = publish()
    urls = [shard["url"] for shard in stranger.get_record(uri).value["storage"]["shards"]]
    for url in urls:
        spoil(url)
    result = command("pull", uri, "here")
    assert (result.exit_code, result.stdout.count("does not hold the bytes")) == (1, 2)
    assert result.stderr.startswith("Error: 2 of 2 shards of 'pictures' did not come: ")
    told = command("pull", uri, "here", "--json")
    assert (told.exit_code, len(told.stdout.splitlines())) == (1, 1)
    assert json.loads(told.stdout)["failed"].keys() == {*urls}


def test_shards_without_a_digest_and_files_of_an_earlier_version_are_told(publish, stranger, command):
    from atdata_pipelines.config.resources import AtprotoResource

    uri = publish()
    record = stranger.get_record(uri).value
    command("pull", uri, "here")
    storage = {**record["storage"], "shards": [{"url": record["storage"]["shards"][0]["url"]}]}
    later = AtprotoResource().client().create_record(ENTRY, {**record, "storage": storage}, validate=False)
    result = command("pull", str(later), "here")
    assert result.exit_code == 0
    left = record["storage"]["shards"][1]["url"].rpartition("/")[2]
    assert result.stderr.splitlines() == [
        "The record gives no digest of 1 shard, which could not be checked.",
        f"Of an earlier version, and none of its shards now: {left}. Remove what you do not need.",
    ]


def test_samples_become_tables_and_pictures_of_shards_that_are_there(publish, spoil, stranger, command, tmp_path):
    parquet = library("pyarrow.parquet")
    uri = publish()
    assert command("pull", uri, "here").exit_code == 0
    for shard in stranger.get_record(uri).value["storage"]["shards"]:
        spoil(shard["url"])
    told = json.loads(command("pull", uri, "here", "--samples", "--json").stdout)
    assert told["fetched"] == 0
    assert [each["samples"] for each in told["samples"]] == [3, 3]
    assert [each["table"] for each in told["samples"]] == [
        shard["file"].replace("here/", "here/samples/").replace(".tar", ".parquet") for shard in told["shards"]
    ]
    rows = [row for each in told["samples"] for row in parquet.read_table(each["table"]).to_pylist()]
    assert [row["label"] for row in rows] == [*range(6)]
    assert all((tmp_path / "here/samples" / row["image"]).is_file() for row in rows)
    # A table of its own, which a shard of an earlier version had; and what other people have there.
    folder = tmp_path / "here/samples"
    (folder / "old.parquet").write_bytes(Path(told["samples"][0]["table"]).read_bytes())
    (folder / "empty.parquet").touch()
    (folder / "folder.parquet").mkdir()
    (folder / "link.parquet").symlink_to("nowhere")
    parquet.write_table(library("pyarrow").table({"mine": [1]}), folder / "mine.parquet")
    others = parquet.read_schema(folder / "old.parquet").metadata[b"atdata"].replace(b"/pictures", b"/letters")
    letters = library("pyarrow").table({"x": [1]}).replace_schema_metadata({b"atdata": others})
    parquet.write_table(letters, folder / "letters.parquet")
    again = command("pull", uri, "here", "--samples")
    assert again.stdout.splitlines()[1] == "here/samples: 6 samples in 2 tables, 6 pictures"
    assert again.stderr == (
        "Of an earlier version, and none of its shards now: old.parquet. Remove what you do not need.\n"
    )


def test_without_pyarrow_nothing_is_fetched_and_the_extra_is_named(command, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = command("pull", "@nobody.test/pictures", "here", "--samples")
    assert (result.exit_code, result.stdout, (tmp_path / "here").exists()) == (1, "", False)
    assert result.stderr == (
        "Error: --samples needs pyarrow, which is not installed: pip install 'atdata-core[arrow]'.\n"
    )


@pytest.mark.slow
def test_ctrl_c_ends_it_and_the_next_one_goes_on(publish, command, tmp_path):
    # Long: a process of its own, that is slow on purpose.
    uri = publish()
    program = (
        "import time\n"
        "from atdata_core.stores.shard_streams import ResumableRead\n"
        "whole = ResumableRead.take\n"
        "def slowly(self, most):\n"
        "    time.sleep(0.2); return whole(self, 200)\n"
        "ResumableRead.take = slowly\n"
        "from atdata_pipelines.cli import main\n"
        "main(prog_name='atdata-pipelines')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "pull", uri, "here"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )

    def written():
        return sum(path.stat().st_size for path in (tmp_path / "here").glob("*.part"))

    end = time.monotonic() + 90
    while written() < 1000:
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Interrupted. What came stays. Run it again, and it goes on where it stopped:" in err
    assert err.splitlines()[-1] == f"  atdata-pipelines pull {uri} here"
    assert "Traceback" not in err
    assert written() > 0
    assert command("pull", uri, "here").exit_code == 0
    assert written() == 0
