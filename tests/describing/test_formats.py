"""What is exported, and what the field's own validators say of it."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from atdata_core.common.citation import Creator
from atdata_core.describing import FORMATS, DescribedShard, describe
from atdata_core.errors import RefusedError

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"


@pytest.fixture
def described(publish, anybody):
    """Four datasets whose every text is hostile, and one of another program, whose records hold what they like."""
    found = {name: describe(uri, anybody) for name, uri in publish().uris.items()}
    shards = ("a b#ü.tar", "samples", "sample-files", "fields", "shard/000001")
    found["foreign"] = replace(
        found["rows"],
        created_at="yesterday\n}",
        version="v1",
        creators=(Creator("The Lab", did=DID), Creator("Lovelace, Ada")),
        shards=tuple(
            DescribedShard(name, f"https://e.org/{name}", f"https://e.org/{name}", f"{number:02x}" * 32, None)
            for number, name in enumerate(shards)
        ),
    )
    return found


@pytest.fixture
def exported(described):
    """The text of each format by the name of the dataset."""
    return {name: {kind: make(each) for kind, make in FORMATS.items()} for name, each in described.items()}


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
def test_mlcroissant_extruct_and_parsers_of_bibtex_accept_every_kind_of_dataset(exported, validated):
    for name in exported:
        croissant, page, bibtex = (validated[name][kind] for kind in ("croissant", "schema.org", "bibtex"))
        # A date that the record does not have cannot be invented.
        undated = [each for each in croissant["problems"] if "datePublished" in each]
        assert (croissant["problems"], bool(undated)) == (undated, name == "foreign"), name
        assert croissant["version"] == "http://mlcommons.org/croissant/1.1"
        shards = 5 if name == "foreign" else 2
        assert croissant["files"] == [*(f"{number:02x}" * 32 for number in range(shards)), None]
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


def test_what_another_program_wrote_is_exported_as_far_as_it_is_true(described, exported):
    texts = exported["foreign"]
    croissant, page, datacite = (json.loads(texts[kind]) for kind in ("croissant", "schema.org", "datacite"))
    assert croissant["version"] == "1.0.0"
    assert "datePublished" not in page
    assert (datacite["publicationYear"], "dates" in datacite) == (":none", False)
    assert ["yest" in text for text in texts.values()] == [False] * len(texts)
    either = ["Person", "Organization"]
    assert page["creator"] == [
        {"@type": either, "name": "The Lab", "identifier": DID},
        {"@type": either, "name": "Lovelace, Ada"},
    ]
    assert json.loads(exported["rows"]["schema.org"])["creator"][0]["@type"] == "Person"
    assert "atdata.load_dataset(" in texts["readme"]
    assert "atdata.load_dataset(" in texts["croissant"]
    bare = replace(described["rows"], shards=(replace(described["rows"].shards[0], sha256=None),))
    with pytest.raises(RefusedError, match=r"no SHA-256 of the shard '000000\.tar'"):
        FORMATS["croissant"](bare)


def test_bibtex_keeps_braces_balanced_and_authors_apart_whatever_names_hold(exported):
    text = exported["texts"]["bibtex"]
    assert text.count("{") == text.count("}")
    assert (text.count("\n@"), text.count(" and ")) == (0, 1)
    assert "doi = {10.5281/zenodo.1234567}" in text


@pytest.fixture
def bibliography(described):
    """What pybtex reads of a dataset of which something else is said."""
    parse = pytest.importorskip("pybtex.database").parse_string

    def read(**said):
        (entry,) = parse(FORMATS["bibtex"](replace(described["rows"], **said)), "bibtex").entries.values()
        return entry

    return read


@pytest.mark.parametrize("text", ["a { b", "x}\n@misc{y,", "}{", "\\{", "\\}"])
def test_a_brace_without_another_is_one_entry_to_bibtex(bibliography, text):
    said = {"version": text, "citation": text, "homepage": f"https://e.org/{text}", "doi": f"10.5281/{text}"}
    entry = bibliography(name=text, creators=(Creator(text),), **said)
    assert list(entry.fields) == ["title", "year", "version", "publisher", "doi", "url", "note"]
    assert entry.fields["version"].count(r"\textbrace") == text.count("{") + text.count("}")


def test_addresses_in_bibtex_are_what_they_are(bibliography):
    fields = bibliography(
        homepage="https://e.org/~ada/my_data?a=1&b={2}%20c d\u200b\n\\#x", doi="10.1002/(SICI)1_9<1::A#D>3.{0}"
    ).fields
    assert fields["url"] == "https://e.org/~ada/my_data?a=1&b=%7B2%7D%20c%20d%E2%80%8B%0A%5C#x"
    assert fields["doi"] == "10.1002/(SICI)1_9<1::A#D>3.%7B0%7D"


def test_each_creator_is_one_author_to_bibtex(bibliography):
    names = ["Rock And Roll Lab", "Salt AND Pepper", "sand\u200b an\u200bd sea", "others", "Ada Lovelace", "\u200b"]
    people = bibliography(creators=tuple(map(Creator, names))).persons["author"]
    assert [str(each) for each in people] == [
        "{Rock And Roll Lab}", "{Salt AND Pepper}", "{sand and sea}", "{others}", "Lovelace, Ada"
    ]  # fmt: skip
    assert [str(each) for each in bibliography(creators=(Creator("\u200b"),)).persons["author"]]


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


@pytest.mark.parametrize("under", ["====", "=", "----", "- - -", "***", "```", "    x"])
def test_a_description_makes_no_heading_in_the_readme(described, under):
    told = replace(described["rows"], description=f"Title\n{under}\nmore")
    page = MarkdownIt("gfm-like", {"linkify": False}).render(FORMATS["readme"](told).split("---\n", 2)[2])
    assert f"<p>Title\n{under.strip()}\nmore</p>" in page
    assert (page.count("<h1>"), page.count("<hr")) == (1, 0)


def test_what_nobody_sees_is_not_in_the_head_of_the_readme(described):
    unseen = "\u200b\u202e\x00\ufffe\uffff"
    told = replace(described["rows"], keywords=(unseen, "seen"), license=unseen, license_address=None, name=unseen)
    card = yaml.safe_load(FORMATS["readme"](told).split("---\n", 2)[1])
    assert card == {
        "license": "other", "language": ["en", "de"], "language_bcp47": ["en", "de-CH"],
        "tags": ["webdataset", "atproto", "seen"], "size_categories": ["n<1K"],
    }  # fmt: skip


def test_an_address_stays_in_its_row_of_the_readme(described):
    shard = replace(described["rows"].shards[0], address="https://e.org/a|b\n\n# (c)>.tar")
    page = MarkdownIt("gfm-like", {"linkify": False}).render(
        FORMATS["readme"](replace(described["rows"], shards=(shard,))).split("---\n", 2)[2]
    )
    assert 'href="https://e.org/a%7Cb%0A%0A#%20%28c%29%3E.tar"' in page
