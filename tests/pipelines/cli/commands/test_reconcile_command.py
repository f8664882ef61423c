"""``atdata-pipelines reconcile`` tells what differs, and restores on request."""

import json

import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL


@pytest.fixture
def account_client(pds, account):
    client = AtmosphereClient(pds.url)
    client.login(account.handle, account.password)
    return client


@pytest.fixture
def published(lab, promote):
    lab.insert("pictures")
    return promote("pictures")


def test_a_lost_ledger_is_rebuilt(lab, published, command):
    for key in lab.index.redis.scan_iter("atdata:ledger:*"):
        lab.index.redis.delete(key)
    result = command("reconcile")
    assert result.exit_code == 0, result.output
    assert f"rebuilt     pictures  {published}" in result.stdout
    assert result.stdout.splitlines()[-1] == "2 records looked at: 2 rebuilt"
    assert command("reconcile", "pictures").stdout == "2 records looked at: all as the ledger has them\n"
    assert command("status", "pictures").stdout.startswith("pictures: published\n")


def test_what_is_gone_is_told_and_restored_on_request(lab, published, command, account_client):
    _, _, _, collection, rkey = published.split("/")
    before = account_client.get_record(published)
    account_client.delete(collection, rkey)
    result = command("reconcile")
    assert result.exit_code == 3
    assert f"gone        pictures  {published}" in result.stdout
    assert "--restore" in result.stderr
    assert command("status", "pictures").stdout.startswith("pictures: blocked\n")
    result = command("reconcile", "--restore", "--json")
    assert result.exit_code == 0, result.output
    finding, looked_at = map(json.loads, result.stdout.splitlines())
    assert (finding["kind"], finding["uri"], finding["restored"]) == ("gone", published, published)
    assert looked_at["restored"] == [published]
    assert account_client.get_record(published) == before
    assert command("reconcile").exit_code == 0


def test_older_versions_and_other_names_are_restored_as_they_were(lab, published, promote, command, account_client):
    other = promote("pictures", name="renamed")
    lab.insert("pictures", start=6)
    promote("pictures")
    before = [account_client.get_record(uri) for uri in (published, other)]
    for uri in (published, other):
        account_client.delete(*uri.split("/")[3:])
    assert command("reconcile", "--restore").exit_code == 0
    assert [account_client.get_record(uri) for uri in (published, other)] == before


def test_what_cannot_be_restored_is_said(lab, published, command, account_client):
    account_client.delete(*published.split("/")[3:])
    for pattern in ("LocalDatasetEntry:*", "atdata:dataset*", "Label:*"):
        for key in lab.index.redis.scan_iter(pattern):
            lab.index.redis.delete(key)
    result = command("reconcile", "--restore")
    assert result.exit_code == 1
    assert "its entry is not in the index any more" in result.stderr


def test_a_misspelt_name_is_one_line(published, command):
    result = command("reconcile", "pictoures")
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.endswith("Near it: pictures.")


def test_the_label_of_a_version_is_restored(published, promote, command, account_client):
    promote("pictures", version="1.0")
    before = account_client.list_records(LABEL)[0]
    for record in before:
        account_client.delete(*record.uri.split("/")[3:])
    result = command("reconcile", "--restore")
    assert result.exit_code == 0, result.output
    assert account_client.list_records(LABEL)[0] == before


def test_restoring_a_label_publishes_nothing_new(lab, published, command, account_client):
    lab.insert("pictures", start=6)
    (label,) = account_client.list_records(LABEL)[0]
    account_client.delete(*label.uri.split("/")[3:])
    result = command("reconcile", "--restore")
    assert result.exit_code == 1
    assert (
        "a newer entry, which was never published. atdata-pipelines promote pictures publishes it" in result.stderr
    )
    assert [record.uri for record in account_client.list_records(ENTRY)[0]] == [published]
