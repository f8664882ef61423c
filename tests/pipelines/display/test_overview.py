"""The panel on the last stage: true, and nothing that data say breaks out of it."""

import io
import re
from contextlib import redirect_stdout
from types import SimpleNamespace

import dagster as dg
import pytest
from markdown_it import MarkdownIt

from atdata_core.promotion.records.summary import Summary
from atdata_core.promotion.stages.publish import PublishedRecord
from atdata_core.promotion.stages.visibility import Unreadable, Visibility
from atdata_core.protocols import ShardFacts
from atdata_core.state.facts import CopiedShards
from atdata_pipelines.display.materialisation_metadata import overview

SCHEMA = "at://did:plc:x/science.alt.dataset.schema/lab.Point:1.0.0"
HOSTILE = (
    "</td></table><script>alert(1)</script>|`x`![p](javascript:1) [l](http://e) \n\n# h\n```\n<img src=x onerror=y>"
)


def elements(markdown):
    """The kinds of things that a renderer which lets HTML through makes of it."""
    found = []

    def walk(tokens):
        for token in tokens:
            found.append(token.type)
            walk(token.children or [])

    walk(MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown))
    # An address in a text is code there, so that it is no link.
    return [kind for kind in found if kind not in ("text", "code_inline")]


@pytest.fixture
def panel():
    """The overview of a record that says what a test wants."""

    def make(service="https://pds.example.org", seen=None, note=None, **said):
        shard = ShardFacts("https://data.example.org/p/0.tar", 1234, "0" * 64, samples=5)
        storage = {"shards": [{"url": shard.url, "checksum": {"digest": shard.sha256}}]}
        value = {"name": "points", "storage": storage, "size": {"samples": 5, "shards": 1, "bytes": 1234}, **said}
        record = PublishedRecord(
            "at://did:plc:x/science.alt.dataset.entry/2222222222222",
            "cid",
            "created",
            "at://did:plc:x/science.alt.dataset.label/2222222222223",
            note=note,
            summary=Summary.of(value, account="did:plc:x", entry="cid"),
        )
        copies = CopiedShards("cid", "claim", "s3.example.org/public/", (shard,), ("read back",))
        return overview(record, SCHEMA, copies, seen or Visibility(1), service)

    return make


def metadata(result):
    [materialization] = result.asset_materializations_for_node("atmosphere_record")
    return materialization.metadata


def test_the_panel_tells_what_is_published_where_and_to_whom(panel):
    text = panel(description="Points in space", tags=["a", "b"], license="MIT")
    for line in (
        "### points",
        "| what | Points in space |",
        "| tags | a, b |",
        "| license | MIT |",
        "| samples | 5 |",
        "| size | 1,234 bytes in 1 shard |",
        "| shards lie at | `https://data.example.org/p` |",
        "| copies | `s3.example.org/public/` |",
        "| readable anonymously | all |",
        f"| schema | [`{SCHEMA}`](https://pdsls.dev/{SCHEMA}) |",
        "**How anonymous readers read it**",
    ):
        assert line in text.splitlines(), line
    assert "AtmosphereClient())" in text


def test_who_cannot_read_it_and_what_is_not_given_is_said(panel):
    seen = Visibility(1, (Unreadable("s3://b/0.tar", "needs a key"),))
    text = panel("http://127.0.0.1:2583", seen, "The label points elsewhere.", size=None)
    for line in (
        "| license | none is given |",
        "| readable anonymously | 1 of 1 cannot be read: needs a key |",
        "| label | The label points elsewhere. |",
        f"| schema | `{SCHEMA}` |",
        "**How those who have keys read it**",
    ):
        assert line in text.splitlines(), line
    assert "samples" not in text
    assert "AtmosphereClient('http://127.0.0.1:2583')" in text
    without = PublishedRecord("at://x", None, "superseded", note="Other values were said.")
    copies = SimpleNamespace(shards=())
    assert overview(without, SCHEMA, copies, Visibility(0), "https://h") == "Other values were said."


def test_the_lines_of_python_on_the_panel_read_the_dataset(lab, run, promote, published):
    lab.insert("pictures")
    promote("pictures", description="Ramps", license="MIT")
    shown = metadata(run("pictures", stages=["atmosphere_record"]))
    assert isinstance(shown["overview"], dg.MarkdownMetadataValue)
    [code] = re.findall("```python\n(.*?)\n```", shown["overview"].value, re.DOTALL)
    assert len(code.splitlines()) == 3
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "panel", "exec"), {})
    assert printed.getvalue().startswith("Picture(")


@pytest.mark.parametrize("field", ["name", "description", "license", "tags"])
def test_what_data_say_stays_text_in_its_place(panel, field):
    same = {"name": "n", "description": "d", "license": "l", "tags": ["t"]}
    plain = elements(panel(**same))
    hostile = panel(**{**same, field: [HOSTILE] if field == "tags" else HOSTILE})
    assert elements(hostile) == plain
    assert not {"html_block", "html_inline", "image"} & set(plain)


def test_an_address_stays_in_its_place_and_is_shown_as_it_is(panel):
    def at(url):
        return panel(storage={"shards": [{"url": f"{url}/0.tar"}]})

    plain, hostile = at("https://h/a-b_c"), at("https://h/a`|<img src=x>\n| x")
    assert "| shards lie at | `https://h/a-b_c` |" in plain.splitlines()
    assert elements(hostile) == elements(plain)


def test_the_panel_is_bounded(panel):
    text = panel(name="&" * 9_000, description="<" * 50_000, tags=["&" * 640] * 200, license="|" * 3_000)
    assert len(text) < 20_000
