"""``catalogue``: a static site of an account, by anybody."""

import json

from web_pages import page_at


def test_anybody_writes_a_catalogue_and_is_told_what_changed(publish, account, command, tmp_path, monkeypatch):
    publish("pictures")
    for name in ("ATDATA_REDIS_URL", "ATDATA_APP_PASSWORD", "ATDATA_HANDLE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name)
    missing = command("catalogue", "site")
    assert missing.exit_code == 1
    assert "ATDATA_HANDLE" in missing.stderr
    first = command("catalogue", "site", "--account", account.handle)
    assert first.exit_code == 0, first.output
    assert first.stdout == "site/index.html: 1 dataset, 6 files written, 0 removed, 0 as they were\n"
    page = page_at(tmp_path / "site" / "datasets" / "pictures.html")
    assert len(page.all("img")) == 2
    again = json.loads(command("catalogue", "site", "--account", account.did, "--json").stdout)
    assert again == {
        "folder": "site",
        "datasets": 1,
        "unread": [],
        "written": 0,
        "removed": 0,
        "unchanged": 6,
    }


def test_what_cannot_be_read_is_named_and_an_address_has_to_be_one(publish, lab, account, objects, s3, command):
    from atdata_core.stores.s3.objects import S3Endpoint

    publish("pictures")
    for key in objects(lab.bucket):
        S3Endpoint.from_credentials(s3).client.delete_object(Bucket=lab.bucket, Key=key)
    found = command("catalogue", "site")
    assert found.exit_code == 0
    assert found.stderr.startswith("pictures: ")
    refused = command("catalogue", "site", "--url", "javascript:alert(1)")
    assert refused.exit_code == 2
    assert "--url" in refused.stderr
