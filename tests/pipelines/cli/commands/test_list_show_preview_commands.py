"""``list``, ``show`` and ``preview``: what there is, what it is, and how it looks."""

import json
import os

from PIL import Image

from atdata_core.atmosphere import AtmosphereClient


def test_the_datasets_of_the_index_are_listed_with_what_is_published(lab, promote, command):
    assert "atdata-pipelines add" in command("list").stdout
    lab.insert("pictures")
    lab.insert("other", start=9)
    uri = promote("pictures")
    head, other, pictures = command("list").stdout.splitlines()
    assert head.split() == ["NAME", "SHARDS", "SCHEMA", "PUBLISHED", "AS"]
    assert other.split()[0::3] == ["other", "-"]
    assert pictures.split() == ["pictures", "2", other.split()[2], uri]
    lab.insert("pictures", start=20)
    assert command("list").stdout.splitlines()[2].endswith(f"{uri}  (an earlier entry)")
    found = [json.loads(line) for line in command("list", "--json").stdout.splitlines()]
    assert [(each["name"], each["uri"], each["current"]) for each in found] == [
        ("other", None, False),
        ("pictures", uri, False),
    ]
    command("retract", "pictures", "--yes")
    assert command("list").stdout.splitlines()[2].split()[-1] == "-"


def test_a_dataset_of_the_index_is_shown_with_its_fields_and_shards(lab, promote, command):
    entry = lab.insert("pictures", metadata={"license": "MIT"})
    uri = promote("pictures")
    text = " ".join(command("show", "pictures").stdout.split())
    assert text.startswith(f"pictures published {uri} schema {entry.schema_ref} fields image ndarray[uint8] ")
    assert "data 2 shards, 6 samples, " in text
    assert f'metadata license: "MIT" entry {entry.cid} since 20' in text
    found = json.loads(command("show", "pictures", "--json").stdout)
    assert [field["name"] for field in found["fields"]] == ["image", "vector", "word", "label"]
    assert (found["published"], found["shards"], found["samples"]) == ([uri], 2, 6)
    missing = command("show", "pictoures")
    assert missing.exit_code == 1
    assert missing.stderr.endswith("Near it: pictures.\n")


def test_anybody_is_shown_what_is_published(publish, account, command, monkeypatch):
    uri = publish("lab/pictures")
    for name in ("ATDATA_REDIS_URL", "ATDATA_APP_PASSWORD", "ATDATA_HANDLE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name)
    texts = {command("show", named).stdout for named in (uri, f"@{account.handle}/lab/pictures")}
    assert len(texts) == 1
    text = texts.pop()
    assert text.startswith(f"lab/pictures\n  uri      {uri}\n  license  CC-BY-4.0\n")
    assert "data     2 shards, 6 samples, " in text
    assert "network" not in text
    ask, asked = AtmosphereClient.get_record, []
    monkeypatch.setattr(AtmosphereClient, "get_record", lambda self, at: asked.append(str(at)) or ask(self, at))
    assert command("preview", uri).exit_code == 0
    assert (asked.count(uri), len(asked)) == (1, 2)
    assert command("show", f"@{account.handle}/nothing").exit_code == 1


def test_what_a_dataset_is_cited_by_and_what_the_network_says_is_shown(publish, promote, command, monkeypatch):
    publish("pictures")
    promote("pictures", creators=["Ada <0000-0002-1825-0097>"], doi="10.1000/182", language=["en", "de"])
    # Nobody listens there.
    monkeypatch.setenv("ATDATA_RELAY_URL", "http://127.0.0.1:9")
    text = " ".join(command("show", f"@{os.environ['ATDATA_HANDLE']}/pictures").stdout.split())
    assert "doi 10.1000/182" in text
    assert "creators Ada <0000-0002-1825-0097> language en, de" in text
    assert "network http://127.0.0.1:9 has not confirmed it yet: it does not answer (ConnectError)." in text


def test_a_published_dataset_is_exported_in_every_format_to_the_screen_or_a_file(publish, command, tmp_path):
    uri = publish("pictures")
    croissant = json.loads(command("export", uri, "--format", "croissant").stdout)
    assert croissant["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert all(len(file["sha256"]) == 64 and file["contentSize"] for file in croissant["distribution"][:2])
    for kind in ("schema.org", "bibtex", "datacite", "readme"):
        told = json.loads(command("export", "pictures", "--format", kind, "--to", kind, "--json").stdout)
        assert (tmp_path / kind).read_text("utf-8") == told["text"]
        assert (told["uri"], told["format"], told["file"]) == (uri, kind, kind)
    assert command("export", "nothing", "--format", "bibtex").exit_code == 1


def test_an_export_as_croissant_says_that_a_license_is_missing_and_how_to_give_one(lab, promote, command):
    lab.insert("pictures")
    result = command("export", promote("pictures"), "--format", "croissant")
    assert "promote pictures --license CC-BY-4.0" in result.stderr
    assert "license" not in json.loads(result.stdout)


def test_a_first_look_tells_fields_shapes_samples_and_draws_pictures(lab, command, tmp_path):
    lab.insert("pictures")
    result = command("preview", "pictures")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["image", "ndarray[uint8]", "8×8"]
    assert lines[1].split() == ["vector", "ndarray[float32]", "32"]
    assert result.stdout.count("\n  word    <b>") == 3
    for field in ("image", "vector"):
        path = tmp_path / "pictures-preview" / f"{field}.png"
        assert f"{field}: pictures-preview/{field}.png\n" in result.stdout
        with Image.open(path) as picture:
            assert picture.width > picture.height > 0
    found = json.loads(command("preview", "pictures", "--pictures", "look", "--json").stdout)
    assert found["pictures"]["image"] == "look/image.png"
    assert (found["fields"][0]["shape"], len(found["samples"])) == ("8×8", 3)
