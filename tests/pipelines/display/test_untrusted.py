"""Text of strangers is text at every place of the event log that the UI shows."""

import io

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

import atdata_core as atdata
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.display.markdown import LONGEST, shown
from atdata_pipelines.display.materialisation_metadata import record_link, safe
from gfm import linked_in_log, made_of_markdown
from untrusted import HOST, hostile, short_hostile

URL = f"http://{HOST}"
LINES = ["paragraph_open", "paragraph_close"]
PARTS = (
    "![x](",
    "](",
    "http://evil.example",
    "HTTPS://evil.example",
    "www.evil.example",
    "a@evil.example",
    "<b>",
    "<!--",
    "&lt;",
    "&#91;",
    "`",
    "``",
    "\\",
    "|",
    "_",
    "*",
    "~~",
    "# ",
    "- ",
    "1. ",
    "> ",
    "[r]: ",
    "[^f]",
    "===",
    "---",
    "$",
    "\n",
    " ",
    "\t",
    "a",
    "\u202e",
    "\ud800",
)


@atdata.packable
class Stranger:
    word: str
    label: str


Stranger.__doc__ = hostile("docstring", URL)


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join) | st.text(max_size=60))
def test_any_text_is_one_paragraph_of_text_and_no_link(text):
    markdown = shown(text, "markdown")
    assert made_of_markdown(markdown) in ([], LINES)
    assert made_of_markdown(f"![{markdown}](data:image/png;base64,x)") == LINES
    table = made_of_markdown(f"| a | b |\n| --- | --- |\n| {markdown} | {shown(text, 'code')} |")
    assert table == made_of_markdown("| a | b |\n| --- | --- |\n| x | y |")
    assert linked_in_log(shown(text, "log")) == []
    for place in ("text", "log", "markdown", "code"):
        assert shown(text, place).isprintable()
        shown(text, place).encode()


@given(st.text(max_size=60))
def test_text_that_is_shown_as_it_is_may_be_shown_again(text):
    assert shown(shown(text)) == shown(text)


@pytest.mark.parametrize(
    "text",
    ["CC-BY-4.0 is a license that SPDX knows.", "0 of 2 shards can be read without a key.", "lab.Point:1.0.0"],
)
def test_what_is_only_text_is_not_escaped(text):
    assert {shown(text, place) for place in ("text", "log", "markdown")} == {text}


def test_what_nobody_sees_is_shown_and_what_is_long_is_cut():
    assert shown("a\u202eb\u200bc\x1bd\ue000\u3164\ud800\ne") == r"a\u202eb\u200bc\x1bd\ue000\u3164\ud800 e"
    assert len(shown("x" * 9_000_000)) == LONGEST
    assert shown("\u202e" * 9_000, length=9) == r"\u202e\u…"
    assert shown(f"see {URL}/x.") == f"see {URL}/x."
    assert shown(f"see {URL}/x.", "markdown") == f"see `{URL}/x`."


def test_a_link_leads_to_the_viewer_alone():
    link = record_link('at://did:plc:x/a"><script>/\u202e)', "https://pds.example.org")["record"].value
    assert link.startswith("https://pdsls.dev/at://did:plc:x/a%22%3E%3Cscript%3E/")
    assert link.isascii()


def test_all_texts_of_metadata_are_made_safe():
    found = safe({"text": "a\u202e", "list": ["\u202e", 1], "number": 1, "markdown": dg.MetadataValue.md("# h")})
    assert found == {
        "text": "a\\u202e",
        "list": ["\\u202e", 1],
        "number": 1,
        "markdown": dg.MetadataValue.md("# h"),
    }


@pytest.fixture
def strangers(lab, s3, instance):
    """Names of datasets with hostile text in every field: of one that can be published, and of one that cannot."""
    lab.index.publish_schema(Stranger, version="1.0.0", description=hostile("schema", URL))
    file = io.BytesIO()
    with ShardWriter(file) as shard:
        for number in range(4):
            sample = Stranger(word=hostile("word", URL), label=short_hostile("label", URL)[:39])
            shard.write({**sample.as_wds, "__key__": f"<img src=x onerror=hostile=1>{number}"})
    key = f"lab/<img src=x onerror=hostile=1>&www.{HOST}.tar"
    S3Endpoint.from_credentials(s3).client.put_object(Bucket=lab.bucket, Key=key, Body=file.getvalue())
    metadata = {
        "description": hostile("description", URL),
        "tags": [short_hostile("tag", URL)[:60], f"www.{HOST}"],
        "license": short_hostile("license", URL),
        hostile("key", URL)[:60]: hostile("value", URL),
    }
    names = [f"![n](www.{HOST}) x@{HOST} <b>", f"[b]({URL}) www.{HOST}"]
    for name, at in zip(names, (key, f"lab/gone https:%2F%2F{HOST} <b>.tar"), strict=True):
        lab.index.add_entry(atdata.Dataset[Stranger](f"s3://{lab.bucket}/{at}"), name=name, metadata=metadata)
    add_keys(instance, names)
    return names


def test_nothing_in_the_event_log_is_more_than_text(strangers, run, run_bulk, instance, defined, published, tick):
    good, bad = strangers
    verify = defined().resolve_job_def("verify")
    results = [
        run(good),
        run(bad),
        run_bulk(datasets=strangers),
        verify.execute_in_process(partition_key=good, instance=instance, raise_on_error=False),
        verify.execute_in_process(partition_key=bad, instance=instance, raise_on_error=False),
    ]
    assert [result.success for result in results] == [True, False, False, True, False]
    looked_at = dict.fromkeys(("markdown", "description", "log", "text", "error"), 0)

    def text(value):
        looked_at["text"] += 1
        assert value.isprintable() or value in strangers, value
        assert len(value) <= LONGEST

    def metadata_of(values):
        for label, value in values.items():
            text(label)
            if isinstance(value, dg.MarkdownMetadataValue):
                looked_at["markdown"] += 1
                made = made_of_markdown(value.value)
                assert not [each for each in made if each.startswith(("link", "image", "html"))], made
            elif isinstance(value, dg.TextMetadataValue | dg.UrlMetadataValue):
                text(value.value)
            elif isinstance(value, dg.TableMetadataValue):
                for record in value.records:
                    [text(cell) for cell in record.data.values() if isinstance(cell, str)]
            elif isinstance(value, dg.TableSchemaMetadataValue):
                for column in value.schema.columns:
                    text(column.name)
                    text(column.type)
                    assert made_of_markdown(column.description or "") in ([], LINES)
            elif isinstance(value, dg.JsonMetadataValue):
                text("".join(value.value))

    for result in results:
        for tag in instance.get_run_by_id(result.run_id).tags.values():
            text(tag)
        for entry in instance.all_logs(result.run_id):
            event = entry.dagster_event
            if event is None:
                looked_at["log"] += 1
                assert linked_in_log(entry.user_message) == []
                text(entry.user_message)
            elif event.is_step_materialization:
                metadata_of(event.materialization.metadata)
            elif event.is_asset_observation:
                metadata_of(event.asset_observation_data.asset_observation.metadata)
            elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                looked_at["description"] += 1
                metadata_of(event.asset_check_evaluation_data.metadata)
                assert made_of_markdown(event.asset_check_evaluation_data.description) in ([], LINES)
            elif event.is_step_failure:
                looked_at["error"] += 1
                failure = event.step_failure_data.user_failure_data
                text(failure.description)
                metadata_of(failure.metadata)
    assert min(looked_at.values()) > 1, looked_at
    text(tick().skip_message or "")
    [text(line) for line in tick.state.logged]
