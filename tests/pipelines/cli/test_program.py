import signal
import subprocess
import sys

import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL


def test_promote_shows_each_stage_and_prints_the_at_uri(lab, command, stranger):
    lab.insert("pictures")
    result = command("promote", "pictures", "--description", "Ramps", "--tag", "a", "--license", "MIT")
    assert result.exit_code == 0, result.output
    name, change, uri = result.stdout.split()
    assert (name, change) == ("pictures:", "created")
    value = stranger.get_record(uri).value
    assert (value["description"], value["tags"], value["license"]) == ("Ramps", ["a"], "MIT")
    stages = [line.split()[0] for line in result.stderr.splitlines() if line[:2] == "  " != line[1:3]]
    assert stages == ["local_dataset", "published_schema", "copied_shards", "atmosphere_record"]
    again = command("promote", "pictures")
    assert again.stdout == f"pictures: unchanged {uri}\n"
    assert "implicit Nothing" not in result.stderr + again.stderr


def test_promote_takes_a_version_and_takes_over_what_was_edited_elsewhere(lab, command, account):
    lab.insert("pictures")
    first = command("promote", "pictures", "--version", "1.0.0")
    assert first.exit_code == 0, first.output
    uri = first.stdout.split()[-1]
    client = AtmosphereClient()
    client.login(account.handle, account.password)
    assert {label.value.get("version") for label in client.list_records(LABEL)[0]} == {None, "1.0.0"}
    record = client.get_record(uri)
    client.replace(ENTRY, uri.rsplit("/", 1)[1], {**record.value, "license": "MIT"}, swap=record.cid)
    refused = command("promote", "pictures")
    assert refused.exit_code == 1
    assert "edited elsewhere since it was published from here; it differs in license" in refused.stderr
    assert command("promote", "pictures", "--take-over").stdout == f"pictures: updated {uri}\n"
    assert client.get_record(uri).value == record.value


def test_promote_goes_on_past_what_fails_and_then_names_it(lab, command):
    lab.insert("pictures")
    lab.register("broken", f"s3://{lab.bucket}/not-there.tar")
    result = command("promote", "pictoures", "broken", "pictures")
    assert result.exit_code == 1
    assert result.stdout.startswith("pictures: created at://")
    ends = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert [line.split()[1] for line in ends] == ["pictoures", "broken"]
    assert "Near it: pictures" in ends[0]
    assert result.stderr.splitlines()[-1] == "2 of 3 datasets were not promoted: pictoures, broken"
    assert result.stderr.count("not-there.tar") == ends[1].count("not-there.tar")
    assert "Traceback" not in result.output
    told = command("status", "broken").stdout
    assert told.startswith("broken: failed\n  local_dataset: ")
    assert told.count("does not exist") == 1


def test_several_are_promoted_in_one_run_unless_something_is_said_of_them(lab, command, instance, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", instance.root_directory)
    entry = lab.insert("one")
    lab.register("two", entry.data_urls)
    before = instance.get_runs_count()
    result = command("promote", "one", "two", "one")
    assert result.exit_code == 0, result.output
    assert sorted(line.split()[:2] for line in result.stdout.splitlines()) == [
        ["one:", "created"],
        ["two:", "created"],
    ]
    assert "2 of 2 datasets promoted\n" in result.stderr
    assert "implicit Nothing" not in result.stderr
    [run] = instance.get_runs(limit=instance.get_runs_count() - before)
    assert (run.job_name, run.tags["datasets"]) == ("promote_many", "2")
    result = command("promote", "one", "two", "--license", "MIT")
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [["one:", "updated"], ["two:", "updated"]]
    assert [run.job_name for run in instance.get_runs(limit=2)] == ["promote"] * 2


def test_what_fails_for_all_of_several_is_said_once(lab, command, monkeypatch, account_environ):
    entry = lab.insert("one")
    lab.register("two", entry.data_urls)
    monkeypatch.setenv("ATDATA_PUBLISH_BUCKET", "copies")
    monkeypatch.setenv("ATDATA_PUBLISH_ENDPOINT", "nonsense")
    result = command("promote", "one", "two")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("ATDATA_PUBLISH_ENDPOINT: ") == 1
    assert result.stderr.splitlines()[-1] == "2 of 2 datasets were not promoted: one, two"


def test_a_missing_schema_is_said_in_one_line(lab, command):
    lab.insert("early", schema=False)
    result = command("promote", "early")
    assert result.exit_code == 1
    [line] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: early was not promoted: ")
    assert "publish_schema" in line
    assert result.stderr.count("publish_schema") == 1


def test_a_wrong_password_is_found_out_once(lab, command, monkeypatch):
    monkeypatch.setenv("ATDATA_APP_PASSWORD", "wrong")
    result = command("promote", "one", "two")
    assert result.exit_code == 1
    assert result.stderr.count("Wrong handle or app password") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("url", ["redis://:hunter2/x@127.0.0.1:6379/0", "nonsense"])
def test_a_redis_url_that_is_none_is_said_in_one_line_without_its_password(environ, command, monkeypatch, url):
    monkeypatch.setenv("ATDATA_REDIS_URL", url)
    result = command("promote", "x")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: ATDATA_REDIS_URL is no Redis URL.")
    assert "hunter2" not in result.output


def test_another_name_is_for_a_single_dataset(command):
    result = command("promote", "a", "b", "--name", "c")
    assert result.exit_code == 2
    assert "--name is for a single dataset" in result.stderr


@pytest.mark.slow
def test_the_sandbox_prints_its_variables_until_it_is_stopped(tmp_path):
    # Long: it starts every service, in processes of its own.
    process = subprocess.Popen(
        [sys.executable, "-m", "atdata_pipelines", "sandbox", "--path", "here", "--bucket", "some-bucket"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert {line.split("=")[0] for line in lines if line.startswith("export ")} >= {
        "export ATDATA_REDIS_URL",
        "export ATDATA_S3_ENDPOINT",
        "export ATDATA_PDS_URL",
        "export ATDATA_HANDLE",
    }


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_a_file_of_variables_in_another_encoding_is_refused_in_one_line(command, tmp_path, monkeypatch, encoding):
    (tmp_path / ".env").write_bytes("ATDATA_APP_PASSWORD=schlüssel\n".encode(encoding))
    monkeypatch.chdir(tmp_path)
    result = command("status")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert ".env is not in UTF-8" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_dry_run_of_all_plans_what_failed_as_promotion_of_all_tries_it(lab, command):
    lab.insert("good")
    lab.register("broken", f"s3://{lab.bucket}/not-there.tar")
    assert command("promote", "--all").exit_code == 1
    planned = command("promote", "--all", "--dry-run")
    assert planned.exit_code == 1
    assert "broken cannot be promoted" in planned.stderr or "does not exist" in planned.stderr
    assert "Nothing is due" not in planned.output


def test_promotion_of_all_tells_once_what_is_left_to_a_person_where_nothing_is_due(lab, promote, command):
    lab.insert("pictures")
    promote("pictures")
    assert command("retract", "pictures", "--yes").exit_code == 0
    result = command("promote", "--all")
    assert result.exit_code == 0
    assert result.stderr.count("was retracted") == 1
    assert "Nothing is due" in result.stderr
    assert "0 of 0" not in result.stderr
    assert "failed" not in result.stderr
