"""The catalogue of an account: its pages, what is written again, and what cannot be read."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.atmosphere import AtUri
from atdata_core.errors import StorageError
from web_pages import broken_links, page_at

ATOM = "{http://www.w3.org/2005/Atom}"


@atdata.packable
class Digit:
    """A handwritten digit.

    Attributes:
        image: Grey values, 0 is black.
        label: Which digit it is.
    """

    image: NDArray[np.uint8]
    label: int


@pytest.fixture
def digits():
    rng = np.random.default_rng(0)
    return [Digit(image=rng.integers(0, 255, (8, 8), dtype=np.uint8), label=n % 10) for n in range(20)]


@pytest.fixture
def shard(shelf, digits):
    return shelf.shard(digits)


def files(folder):
    """All but the list of them."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "catalogue-files.json"
    }


def test_each_dataset_has_a_page_that_tells_all_that_is_known(shelf, shard, site, account):
    schema = shelf.schema(Digit)
    [uri] = shelf.publish(
        [
            shelf.record(
                "digits",
                [shard],
                schema,
                description="Handwritten digits.\n\nTwo paragraphs.",
                tags=["images", "Mixed Case"],
                license="CC-BY-4.0",
                contentMetadata={
                    "creators": [{"name": "Ada Lovelace", "orcid": "0000-0002-1825-0097"}],
                    "doi": "10.5281/zenodo.1234567",
                    "citation": "Lovelace, A. (1843). Digits.",
                    "homepage": "https://lab.example.org/digits",
                },
            )
        ]
    )
    assert site().unread == []
    page = page_at(site.folder / "datasets" / "digits.html")
    assert str(page.one("title")) == f"digits · Datasets of {account.handle}"
    assert page.one("meta", name="description").attributes["content"] == "Handwritten digits. Two paragraphs."
    assert page.one("html").attributes == {"lang": "en"}
    text = str(page.one("main"))
    for known in (
        uri,
        schema,
        shard.sha256,
        "Samples20",
        "Ada Lovelace",
        "Lovelace, A. (1843). Digits.",
        "Which digit it is.",
        "@misc{lovelace-2026-digits,",
        f'ds = atdata.load_dataset("@{account.handle}/digits")',
        f'ds = atdata.load_dataset("{uri}")',
        "2026-03-01",
    ):
        assert known in text
    links = {each.attributes["href"] for each in page.all("a")}
    assert {
        shard.url,
        "https://spdx.org/licenses/CC-BY-4.0",
        "https://doi.org/10.5281/zenodo.1234567",
        "https://orcid.org/0000-0002-1825-0097",
        "https://lab.example.org/digits",
    } <= links
    image = page.one("img")
    assert image.attributes["alt"] == "image of 8 samples, side by side"
    assert (site.folder / "datasets" / image.attributes["src"]).read_bytes().startswith(b"\x89PNG")
    assert page.linked_data["name"] == "digits"
    assert page.linked_data["distribution"][0]["sha256"] == shard.sha256
    assert broken_links(site.folder) == []
    assert [*page.dangers()] == []


def test_the_index_names_all_in_order_and_each_tag_has_a_page(shelf, shard, site, account):
    schema = shelf.schema(Digit)
    names = ["b", "A", "c/d", "a"]
    shelf.publish([shelf.record(name, [shard], schema, tags=["all", f"of {name}"]) for name in names])
    site()
    index = page_at(site.folder / "index.html")
    assert [str(each) for each in index.all("h2")] == ["By tag", "A", "a", "b", "c/d"]
    assert str(index.one("nav")) == "By tag all 4 of A 1 of a 1 of b 1 of c/d 1"
    assert [str(each) for each in page_at(site.folder / "tags" / "all.html").all("h2")] == ["A", "a", "b", "c/d"]
    assert index.one("link", rel="canonical").attributes["href"] == "https://lab.example.org/data/index.html"
    # Some disks take upper and lower case for one.
    assert len({path.lower() for path in files(site.folder)}) == len(files(site.folder))
    assert broken_links(site.folder) == []


def test_feed_and_sitemap_name_each_dataset(shelf, shard, site, account, client):
    schema = shelf.schema(Digit)
    times = {"old": "2025-01-01T00:00:00Z", "odd": "yesterday", "new": "2026-01-01T00:00:00+02:00"}
    uris = shelf.publish([shelf.record(name, [shard], schema, created_at=at) for name, at in times.items()])
    site()
    feed = ET.parse(site.folder / "feed.xml").getroot()
    entries = feed.findall(f"{ATOM}entry")
    assert [each.findtext(f"{ATOM}title") for each in entries] == ["new", "old", "odd"]
    assert {each.findtext(f"{ATOM}id") for each in entries} == set(uris)
    assert feed.findtext(f"{ATOM}updated") == "2025-12-31T22:00:00+00:00"
    assert entries[0].find(f"{ATOM}link").get("href") == "https://lab.example.org/data/datasets/new.html"
    places = [
        each.text for each in ET.parse(site.folder / "sitemap.xml").getroot().iter() if each.tag.endswith("loc")
    ]
    assert places == [f"https://lab.example.org/data/{path}" for path in (
        "index.html", "datasets/new.html", "datasets/odd.html", "datasets/old.html")]  # fmt: skip
    site(url=None)
    assert not (site.folder / "sitemap.xml").exists()


def test_a_name_has_one_page_of_what_its_label_points_at(shelf, shard, site):
    schema = shelf.schema(Digit)
    old = shelf.record("digits", [shard], schema, description="first", created_at="2026-05-01T00:00:00Z")
    new = shelf.record("digits", [shard], schema, description="second", created_at="2026-01-01T00:00:00Z")
    [other] = shelf.publish([old], labels=False)
    [current] = shelf.publish([new])
    times = [f"2026-0{month}-01T00:00:00Z" for month in "132"]
    unlabelled = [shelf.record("loose", [shard], schema, created_at=time) for time in times]
    loose = shelf.publish(unlabelled, labels=False)
    assert [each.uri for each in site().datasets] == [current, loose[1]]
    text = str(page_at(site.folder / "datasets" / "digits.html").one("main"))
    assert "second" in text
    assert f"Other entries of this name{other}" in text
    # Its name leads to nothing.
    assert f'load_dataset("{loose[1]}")' in str(page_at(site.folder / "datasets" / "loose.html").one("main"))


def test_only_what_changed_is_written_and_what_is_retracted_goes(shelf, shard, site, client, digits):
    schema = shelf.schema(Digit)
    other = shelf.shard([Digit(image=255 - each.image, label=1) for each in digits])
    [gone, *_] = shelf.publish(
        [
            shelf.record("gone", [other], schema, tags=["seldom"]),
            shelf.record("stays", [shard], schema, tags=["images"]),
            # The same picture, which is one file.
            shelf.record("twin", [shard], schema, tags=["images"]),
        ]
    )
    first = site().changes
    assert (first.removed, first.unchanged) == (0, 0)
    assert first.written == len(files(site.folder)) == 11
    assert site().changes == type(first)(written=0, removed=0, unchanged=11)
    (site.folder / "CNAME").write_text("lab.example.org")
    (site.folder / "datasets" / "notes.txt").write_text("mine")
    before = files(site.folder)
    client.delete_record(AtUri.parse(gone))
    changes = site().changes
    after = files(site.folder)
    assert changes.removed == 3
    removed = sorted(before.keys() - after.keys())
    assert removed[0] == "datasets/gone.html"
    assert removed[2] == "tags/seldom.html"
    assert removed[1].startswith("pictures/")
    changed = {path for path in after if after[path] != before[path]}
    assert changed == {"index.html", "feed.xml", "sitemap.xml"}
    assert changes.written == len(changed)


def test_what_cannot_be_read_has_a_page_that_says_why_and_the_rest_is_built(shelf, shard, site, bucket):
    schema = shelf.schema(Digit)
    lost = shelf.shard([Digit(image=np.eye(8, dtype=np.uint8), label=1)])
    shelf.objects.delete_object(Bucket=bucket, Key=lost.url.rpartition("/")[2])
    good = shelf.record("good", [shard], schema)
    urls = {
        "gopher": "gopher://x/a.tar",
        "bare": "s3://b",
        "cloud": "gs://b/a.tar",
        "hub": "hf://a",
        "ipv6": "http://[foo/a",
    }
    kind = "science.alt.dataset.storage"
    odd = {name: {"$type": f"{kind}Http", "shards": [{"url": url}]} for name, url in urls.items()}
    for name, endpoint in {"endpoint": "http://[foo", "service": "gopher://x", "region": None}.items():
        where = {"bucket": "b b" if endpoint else "b", "region": "no where\u0000", "endpoint": endpoint}
        said = {key: value for key, value in where.items() if value is not None}
        odd[name] = {"$type": f"{kind}S3", "shards": [{"key": "//"}], **said}
    odd["pattern"] = {"$type": f"{kind}External", "urls": ["https://e.org/{0.tar"]}
    shelf.publish(
        [
            good,
            shelf.record("lost", [lost], schema),
            {
                **good,
                "name": "malformed",
                "storage": {"$type": "science.alt.dataset.storageHttp", "shards": "none"},
            },
            shelf.record("unschemed", [shard], schema.replace("Digit", "Other")),
            {**good, "name": ""},
            *({**good, "name": name, "storage": storage} for name, storage in odd.items()),
        ]
    )
    made = site()
    assert sorted(each.name for each in made.unread) == sorted(["lost", "malformed", "unschemed", *odd])
    for name in odd:
        page = page_at(site.folder / "datasets" / f"{name}.html")
        assert len(str(page.one("p", **{"class": "problem"}))) > 50, name
        # Of what a malformed pattern stands for nothing is told.
        assert len(page.all("script")) == (name != "pattern")
    said = {
        name: str(page_at(site.folder / "datasets" / f"{name}.html").one("p", **{"class": "problem"}))
        for name in ("lost", "malformed", "unschemed")
    }
    assert said["lost"].startswith("The samples cannot be read. ")
    assert said["malformed"].startswith("The record cannot be read. ")
    assert "a list is needed" in said["malformed"]
    assert said["unschemed"].startswith("The samples cannot be read. There is no record ")
    assert lost.sha256 in str(page_at(site.folder / "datasets" / "lost.html").one("main"))
    assert "Cannot be read." in str(page_at(site.folder / "index.html").one("main"))
    assert broken_links(site.folder) == []


def test_a_folder_with_other_pages_is_left_alone(shelf, shard, site):
    shelf.publish([shelf.record("digits", [shard], shelf.schema(Digit))])
    site.folder.mkdir()
    (site.folder / "index.html").write_text("<h1>My lab</h1>")
    with pytest.raises(StorageError, match="empty folder"):
        site()
    assert files(site.folder) == {"index.html": b"<h1>My lab</h1>"}
    for folder in (site.folder / "index.html", site.folder / "index.html" / "below"):
        site.folder = folder
        with pytest.raises(StorageError, match=r"index\.html.* cannot be used: a file is where a folder is needed"):
            site()


def test_who_reads_meanwhile_has_whole_files(shelf, shard, site, monkeypatch):
    schema = shelf.schema(Digit)
    shelf.publish([shelf.record("digits", [shard], schema)])
    site()
    before = files(site.folder)
    shelf.publish([shelf.record("more", [shard], schema)])
    write = Path.write_bytes

    def fails(path, data):
        write(path, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", fails)
        with pytest.raises(OSError, match="No space"):
            site()
    assert {path: data for path, data in files(site.folder).items() if path in before} == before
    site()
    assert not [path for path in files(site.folder) if path.endswith(".part")]


def test_an_account_without_datasets_has_an_index(site, client):
    assert site().datasets == []
    assert "0 datasets, by name." in str(page_at(site.folder / "index.html").one("main"))
