"""The pages of a catalogue in a browser: on a phone and a desk, light and dark, whatever stands in a record."""

from dataclasses import replace

import numpy as np
import pytest

from atdata_core.common.citation import Creator
from atdata_core.describing import DatasetDescription, DescribedShard
from atdata_core.samples.described_fields import DescribedField
from atdata_pipelines.catalogue.published_datasets import FirstSamples, PublishedDataset
from atdata_pipelines.catalogue.rendering import Site, files_of
from atdata_pipelines.display.pictures import picture
from untrusted import hostile, listening

pytestmark = pytest.mark.browser

PLAIN = DatasetDescription(
    name="photographs",
    uri="at://did:plc:lab/science.alt.dataset.entry/2abc",
    cid="bafyreibpb2r2l452n7cfmjndxjoig26y6zvkphmbvoac7rcku733q6xewu",
    did="did:plc:lab",
    handle="lab.example.org",
    version=None,
    current=True,
    description="Photographs of a city.\nTaken on one day.",
    keywords=("images", "city"),
    license="CC-BY-4.0",
    license_address="https://spdx.org/licenses/CC-BY-4.0",
    creators=(Creator("Ada Lovelace", "0000-0002-1825-0097"),),
    doi="10.5281/zenodo.1234567",
    citation="Lovelace, A. (2026). Photographs.",
    homepage="https://lab.example.org/photographs",
    language=("en",),
    created_at="2026-01-01T00:00:00Z",
    schema_uri="at://did:plc:lab/science.alt.dataset.schema/lab.Photograph:1.0.0",
    schema=None,
    fields=(DescribedField("pixels", "ndarray[uint8]", {}, False, "Red, green and blue."),),
    shapes={},
    shards=(DescribedShard("a.tar", "https://e.example/a.tar", "https://e.example/a.tar", "0" * 64, 12_345),),
    samples=8,
    bytes=12_345,
    metadata=None,
)


def dataset(text):
    """A dataset with that text everywhere."""
    told = dict.fromkeys(("name", "description", "license", "doi", "citation", "homepage", "created_at"), text)
    field, shard = PLAIN.fields[0], PLAIN.shards[0]
    about = replace(
        PLAIN,
        **told,
        keywords=(text,),
        creators=(Creator(text, did=text),),
        license_address=text,
        fields=(replace(field, name=text, type=text, description=text),),
        shards=(replace(shard, name=text, url=text, address=text, sha256=text),),
    )
    png = picture([np.arange(64, dtype=np.uint8).reshape(8, 8)] * 8)
    samples = FirstSamples([text] * 8, [[text] * 9] * 8, {text: png}, {text: text})
    return PublishedDataset(text, text, (text,), about, samples, text)


# A browser, and each page in three ways.
def test_no_page_scrolls_sideways_or_asks_for_anything_elsewhere(browser, tmp_path):
    with listening() as (url, asked):
        texts = ("photographs", hostile("x", url), "x" * 10_000, "<script>hostile = 1</script>" * 40)
        for path, data in files_of(Site("lab.example.org", "did:plc:lab", None), [*map(dataset, texts)]):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(data)
        pages = sorted(tmp_path.rglob("*.html"))
        assert len(pages) == 9
        for width, scheme in ((1280, "light"), (390, "light"), (390, "dark")):
            context = browser.new_context(
                viewport={"width": width, "height": 800}, color_scheme=scheme, is_mobile=width < 500
            )
            page = context.new_page()
            said, requested = [], []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("request", lambda request, requested=requested: requested.append(request.url))
            for file in pages:
                page.goto(file.as_uri())
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (file, width)
                assert page.evaluate("window.hostile") is None
                page.keyboard.press("Tab")
                assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
                assert all(
                    page.evaluate(
                        "[...document.images].map(each => each.loading == 'lazy' || each.naturalWidth > 0)"
                    )
                )
            assert said == []
            assert not [each for each in requested if not each.startswith("file:")]
            context.close()
        assert asked == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(browser, tmp_path, scheme):
    for path, data in files_of(Site("lab.example.org", "did:plc:lab", None), [dataset("photographs")]):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto((tmp_path / "datasets" / "photographs.html").as_uri())
    behind = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    for selector in ("body", "a", "dt", "footer", "h1"):
        text = luminance(page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).color"))
        # https://www.w3.org/TR/WCAG22/#contrast-minimum
        assert (max(text, behind) + 0.05) / (min(text, behind) + 0.05) >= 4.5, selector
    context.close()


def luminance(colour):
    """https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    parts = [int(each) / 255 for each in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
