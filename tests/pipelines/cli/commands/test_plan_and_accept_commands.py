"""``atdata-pipelines plan`` and ``accept`` tell before anything is done."""

import json

import pytest

from atdata_core.errors import ShardChangedError
from atdata_core.stores.s3.objects import S3Endpoint


def test_a_plan_is_told_and_nothing_is_published(lab, promote, command, account_environ):
    lab.insert("pictures")
    result = command("plan", "pictures", "--tag", "a", "--version", "1.0.0")
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == f"pictures, as {account_environ['ATDATA_HANDLE']} would publish it"
    assert "schema create" in lines
    assert any(line.startswith("entry create at://did:") for line in lines)
    assert any(line.startswith("shards 2 shards, ") and line.endswith("stay where they are") for line in lines)
    assert "cost 4 records, 8 write points" in lines
    assert "warning 2 of 2 shards cannot be read anonymously:" in lines
    assert lines[-1] == "Nothing was written."
    uri = next(line.split()[2] for line in lines if line.startswith("entry"))
    assert promote("pictures") == uri
    again = command("plan", "pictures", "--json")
    assert json.loads(again.stdout)["records"] == 0


def test_a_plan_with_copies_says_what_and_where(lab, command, monkeypatch, s3):
    bucket = f"{lab.bucket}-public"
    S3Endpoint.from_credentials(s3).client.create_bucket(Bucket=bucket)
    monkeypatch.setenv("ATDATA_PUBLISH_BUCKET", bucket)
    lab.insert("pictures")
    result = command("plan", "pictures")
    assert f"/{bucket}/" in result.stdout
    assert "2 shards, " in next(line for line in result.stdout.splitlines() if line.startswith("  copy"))


def test_a_plan_of_what_would_be_refused_is_one_line(lab, command):
    lab.insert("pictures")
    result = command("plan", "pictures", "--require-public")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "cannot be read anonymously" in result.stderr
    assert "Near it: pictures." in command("plan", "picture").stderr


def overwrite(lab, entry, s3, cut=0):
    client = S3Endpoint.from_credentials(s3).client
    first, second = client.list_objects_v2(Bucket=lab.bucket)["Contents"][:2]
    data = client.get_object(Bucket=lab.bucket, Key=second["Key"])["Body"].read()
    client.put_object(Bucket=lab.bucket, Key=first["Key"], Body=data[: len(data) - cut])


def test_changed_bytes_are_shown_asked_about_accepted_and_promoted(lab, promote, command, s3):
    entry = lab.insert("pictures")
    uri = promote("pictures")
    result = command("accept", "pictures")
    assert (result.exit_code, result.stdout) == (0, "pictures: all 2 shards hold what was recorded of them.\n")
    overwrite(lab, entry, s3)
    with pytest.raises(ShardChangedError):
        promote("pictures")
    result = command("accept", "pictures")
    assert result.exit_code == 1
    assert "1 of 2 shards changed" in result.stdout
    assert "samples  3 -> 3" in result.stdout
    assert "Say --yes" in result.stderr
    with pytest.raises(ShardChangedError):
        promote("pictures")
    result = command("accept", "pictures", "--yes")
    assert result.stdout.splitlines()[-1] == "pictures: accepted. Publish it: atdata-pipelines promote pictures"
    told = command("status", "pictures").stdout
    assert "accepted bytes are not published yet\n  atdata-pipelines promote pictures\n" in told
    assert "missing            local_dataset, copied_shards, atmosphere_record\n" in told
    assert f"{uri}  (of earlier bytes)\n" in told
    # As it was told to: a run.
    assert command("promote", "pictures").stdout == f"pictures: updated {uri}\n"
    assert command("status", "pictures").stdout.startswith("pictures: published\n")


def test_damaged_bytes_are_not_accepted(lab, command, s3):
    overwrite(lab, lab.insert("pictures"), s3, cut=1500)
    result = command("accept", "pictures", "--yes")
    assert result.exit_code == 1
    assert "cut short" in result.stdout
    assert "Nothing was accepted" in result.stderr


def test_a_name_with_a_space_is_quoted_in_the_command_to_type_next(lab, command, s3):
    overwrite(lab, lab.insert("my pictures"), s3)
    result = command("accept", "my pictures", "--yes")
    assert result.stdout.splitlines()[-1].endswith("atdata-pipelines promote 'my pictures'")
