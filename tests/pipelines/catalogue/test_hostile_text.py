"""Text of strangers is text on every page of a catalogue, and every file lies in its folder."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import atdata_core as atdata
from atdata_core.atmosphere.record_format.record_keys import SCHEMA
from untrusted import HOST, hostile
from web_pages import broken_links, page_at

URL = f"http://{HOST}"
TEXTS = {
    "elements": hostile("x", URL),
    "end of the data": "</script><script>alert(1)</script><!--<script>",
    "end of an attribute": "\"><img src=x onerror=alert(1)>' onmouseover=alert(1) x=`",
    "templates": "{{ 7 * 7 }}{% raw %}{{ ''.__class__ }}{# #}",
    "entities": "&lt;script&gt;&#60;img&#62;&amp;",
    "turned round": "\u202egnp.exe\u2066\u2069\u200f\u061c\u05d0",
    "control characters": "a\x00b\x01c\x1b[1m\x7f\u2028d\ufffe\uffff",
    "emoji": "👩‍🔬 🏳️‍🌈 é ñ 漢字 עברית",
    "long": "x" * 10_000,
    "long words": "<b> " * 2_500,
    "blank": " \t ",
    "script": "javascript:alert(1)",
    "data": "data:text/html,<script>alert(1)</script>",
    "elsewhere": f"//{HOST}/x.js",
    "upwards": "../../../etc/passwd",
    "absolute": "/etc/passwd",
    "device": "con.html",
    "index": "index.html",
    "dots": "..",
}


@atdata.packable
class Stranger:
    word: str
    label: str


def record_of(good, text, number):
    """A record with that text in each of its fields."""
    return {
        **good,
        "name": text,
        "description": text,
        "tags": [text, f"{text}{number}"],
        "license": text,
        "createdAt": text,
        "size": {"shards": text, "samples": text, "bytes": [text]},
        "contentMetadata": {
            "creators": [{"name": text, "did": text}, text],
            "doi": text,
            "citation": text,
            "homepage": text,
            "keywords": [text],
            "language": [text],
            "shapes": {text: [1]},
        },
    }


@pytest.fixture
def good(shelf):
    schema = shelf.schema(Stranger)
    samples = [Stranger(word=text, label=text) for text in TEXTS.values()]
    return shelf.record("good", [shelf.shard(samples[start : start + 8]) for start in (0, 8, 16)], schema)


# A dataset for each text, and requests for each.
def test_no_text_of_a_record_is_more_than_text(shelf, good, site, client):
    records = [record_of(good, text, number) for number, text in enumerate(TEXTS.values())]
    for text in TEXTS.values():
        shards = [{**good["storage"]["shards"][0], "url": text}]
        records.append({**good, "name": f"shards {text}", "storage": {**good["storage"], "shards": shards}})
        records.append({**good, "name": f"schema {text}", "schemaRef": text})
    records += [{**good, "name": name} for name in ("Case", "case", "CASE", "ſ", "s", "datasets.html")]
    shelf.publish(records, labels=False)
    made = site()
    assert len(made.datasets) == len(records)
    check(site.folder, len(records))


def test_no_text_of_a_schema_or_sample_is_more_than_text(shelf, good, site, client):
    records = []
    for number, text in enumerate(TEXTS.values()):
        schema = client.get_record(good["schemaRef"]).value
        content = {**schema["schema"]["content"], "description": text}
        properties = {name: {**value, "description": text} for name, value in content["properties"].items()}
        content = {**content, "properties": properties}
        body = {**schema["schema"], "content": content}
        key = f"hostile.{number}:1.0.0"
        client.put_record(SCHEMA, key, {**schema, "description": text, "schema": body}, validate=False)
        shards = good["storage"]["shards"]
        storage = {**good["storage"], "shards": shards[number % 3 :] + shards[: number % 3]}
        uri = f"at://{client.did}/{SCHEMA}/{key}"
        records.append({**good, "name": f"n{number}", "schemaRef": uri, "storage": storage})
    shelf.publish(records, labels=False)
    made = site()
    assert made.unread == []
    check(site.folder, len(records))
    assert "onerror" in (site.folder / "datasets" / "n0.html").read_text()


def check(folder: Path, datasets: int):
    files = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(folder) for path in files)
    assert len({str(path).lower() for path in files}) == len(files)
    assert len([*folder.glob("datasets/*.html")]) == datasets
    assert max(path.stat().st_size for path in files) < 500_000
    for path in files:
        if path.suffix == ".html":
            page = page_at(path)
            assert [*page.dangers()] == [], path
            assert path.read_text("utf-8").replace("\n", "").isprintable(), path
            if path.parent.name == "datasets" and page.all("script"):
                for url in addresses(page.linked_data):
                    assert url.startswith(("http://", "https://", "at://", "did:")), url
    for name in ("feed.xml", "sitemap.xml"):
        ET.parse(folder / name)
    assert broken_links(folder) == []


def addresses(data):
    """The addresses of a page's JSON-LD."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        if isinstance(value, dict | list):
            yield from addresses(value)
        elif key in ("url", "@id", "contentUrl", "sameAs"):
            yield value
