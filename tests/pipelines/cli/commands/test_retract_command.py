"""``atdata-pipelines retract`` shows what goes, asks, and leaves what it must."""

import contextlib
import os
import pty
import sys

import pytest

from atdata_core.errors import RecordNotFoundError
from atdata_pipelines.cli import main


@pytest.fixture
def published(lab, promote):
    lab.insert("pictures")
    return promote("pictures")


def test_the_plan_is_shown_and_nothing_goes_where_nobody_can_be_asked(published, command, stranger):
    result = command("retract", "pictures")
    assert result.exit_code == 1
    assert f"entry  {published}" in result.stdout
    assert "2 write points" in result.stdout
    assert "Say --yes" in result.stderr
    assert stranger.get_record(published)


def test_yes_takes_it_back_and_promoting_publishes_it_again(published, command, stranger):
    result = command("retract", "pictures", "--yes")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "pictures: retracted 2 records"
    with pytest.raises(RecordNotFoundError):
        stranger.get_record(published)
    assert command("retract", "pictures", "--yes").exit_code == 1
    assert command("promote", "pictures").stdout == f"pictures: created {published}\n"


def test_a_published_dataset_is_taken_back_by_its_address_unless_another_entry_has_its_name(
    lab, published, promote, command, account
):
    lab.insert("pictures", start=20)
    current = promote("pictures")
    earlier = command("retract", published, "--yes")
    assert earlier.exit_code == 1
    assert "is an earlier entry of 'pictures'. Give the name, with --all-versions" in earlier.stderr
    done = command("retract", f"@{account.handle}/pictures", "--yes")
    assert done.stdout.splitlines()[-1] == "pictures: retracted 2 records"
    # Of what an interruption left, the address is all that there is.
    assert command("retract", current, "--yes").exit_code == 1
    assert command("retract", published, "--all-versions", "--yes").exit_code == 0
    other = command("retract", f"@did:plc:{'a' * 24}/pictures", "--yes")
    assert other.exit_code == 1


def test_copies_go_when_they_are_asked_for(lab, promote, command, monkeypatch, s3):
    from atdata_core.stores.s3.objects import S3Endpoint

    client = S3Endpoint.from_credentials(s3).client
    target = f"{lab.bucket}-public"
    client.create_bucket(Bucket=target)
    monkeypatch.setenv("ATDATA_PUBLISH_BUCKET", target)
    lab.insert("pictures")
    promote("pictures")
    assert "Contents" in client.list_objects_v2(Bucket=target)
    result = command("retract", "pictures", "--shards", "--yes")
    assert result.stdout.splitlines()[-1].startswith("pictures: retracted 2 records, 2 copies (")
    assert "Contents" not in client.list_objects_v2(Bucket=target)


def test_a_name_that_is_not_published_is_one_line(published, command):
    result = command("retract", "picturs")
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.endswith("has published nothing as 'picturs'. Near it: pictures.")


@pytest.mark.parametrize(("answer", "remains"), [(b"\n", True), (b"y\n", False)])
def test_at_a_terminal_it_asks_and_takes_no_for_the_default(
    published, stranger, monkeypatch, capsys, answer, remains
):
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with contextlib.suppress(SystemExit):
            main(["retract", "pictures"])
    os.close(ours)
    assert "Remove all that? [y/N]" in capsys.readouterr().err
    if remains:
        assert stranger.get_record(published)
    else:
        with pytest.raises(RecordNotFoundError):
            stranger.get_record(published)
