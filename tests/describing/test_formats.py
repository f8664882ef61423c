"""What is exported, and what the field's own validators say of it."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from atdata_core.describing import FORMATS, describe

NAMES = ("pictures", "rows", "texts", "recordings")


@pytest.fixture
def exported(publish, anybody):
    """The text of each format, of four datasets whose every text is hostile."""
    uris = publish().uris
    return {
        name: {kind: make(found) for kind, make in FORMATS.items()}
        for name in NAMES
        if (found := describe(uris[name], anybody))
    }


@pytest.fixture
def validated(exported):
    """What the validators say; skipped where they are not installed."""
    if not find_spec("mlcroissant"):
        pytest.skip('mlcroissant, extruct, bibtexparser and pybtex are missing: make install WITH="formats"')
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("validate_formats.py"))],
        input=json.dumps(exported), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow  # mlcroissant takes 5 s to import
def test_mlcroissant_extruct_and_parsers_of_bibtex_accept_four_kinds_of_datasets(exported, validated):
    for name in NAMES:
        croissant, page, bibtex = (validated[name][kind] for kind in ("croissant", "schema.org", "bibtex"))
        assert croissant["problems"] == [], name
        assert croissant["version"] == "http://mlcommons.org/croissant/1.1"
        assert croissant["files"] == ["00" * 32, "01" * 32, None]
        assert page["found"] == [json.loads(exported[name]["schema.org"])]
        assert (bibtex["failed"], len(bibtex["entries"]), bibtex["authors"]) == (0, 1, 2)
    assert validated["recordings"]["croissant"]["fields"] == ["sound", "rate", "raw", "about"]


def test_croissant_names_each_file_with_its_digest_and_size_and_says_that_it_loads_no_samples(exported):
    found = json.loads(exported["pictures"]["croissant"])
    first, _, files = found["distribution"]
    assert (first["sha256"], first["contentSize"], files["includes"]) == ("00" * 32, "10240 B", "*.msgpack")
    samples, fields = found["recordSet"]
    assert "Croissant has no way to read that" in samples["description"]
    assert [row["fields/type"] for row in fields["data"]] == ["ndarray[uint8] any×32×3", "int"]


def test_bibtex_keeps_braces_balanced_and_authors_apart_whatever_names_hold(exported):
    text = exported["texts"]["bibtex"]
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert (text.count("\n@"), text.count(" and ")) == (0, 1)
    assert "doi = {10.5281/zenodo.1234567}" in text


def test_datacite_has_what_a_doi_needs(exported):
    found = json.loads(exported["rows"]["datacite"])
    assert found["creators"][0]["nameIdentifiers"][0]["nameIdentifier"] == "https://orcid.org/0000-0002-1825-0097"
    assert {"doi", "titles", "publisher", "publicationYear", "types", "schemaVersion"} <= found.keys()
    assert found["rightsList"][0]["rightsIdentifier"] == "CC-BY-4.0"


def test_the_head_of_the_readme_is_yaml_and_its_body_shows_hostile_text_as_text(exported):
    _, head, body = exported["pictures"]["readme"].split("---\n", 2)
    card = yaml.safe_load(head)
    assert (card["license"], card["language"], card["size_categories"]) == ("cc-by-4.0", ["en", "de"], ["n<1K"])
    assert card["tags"][:4] == ["webdataset", "atproto", "a, b", "<b>"]
    page = MarkdownIt("gfm-like", {"linkify": False}).render(body)
    assert [mark for mark in ("<script", "<b>", "<em>", "\u202e") if mark in page] == []
    assert page.count("<table>") == 3
