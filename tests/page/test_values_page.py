"""What docs/reference/values.md says is so: each row of its tables, and the table that ``plan`` shows."""

import re
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from atdata_core.promotion.inventory import Publication
from atdata_core.promotion.options import PromotionOptions, Values
from atdata_core.promotion.overrides import OverrideLayers, Overrides
from atdata_core.promotion.records.published_names import PublishedName
from atdata_core.promotion.stages.resolved_values import choose_location
from atdata_core.state.ledger import MemoryLedger
from atdata_pipelines.cli import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "values.md").read_text()
PUBLICATION = Publication("did:plc:lab", "cells", "bafyone")


def rows(heading):
    """The cells of the table under a heading, without its head."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def licenses(cell, value):
    """The licenses that a cell stands for; None: nothing was said."""
    return {
        "-": [None],
        "a value": [value],
        '`""`, `[]`': [""],
        "anything": [None, "", value],
        "a value, or cleared": [value, ""],
        "a value, or empty": [value, ""],
    }[cell]


@pytest.mark.parametrize("row", rows("Description, tags, license"), ids=lambda row: row[-1])
def test_the_first_line_that_has_an_answer_counts(row):
    asked, before, metadata, earlier, _, sources = row
    names = ("asked", "own", "of the metadata", "earlier")
    cells = [licenses(cell, name) for cell, name in zip((asked, before, metadata, earlier), names, strict=True)]
    for now, own, given, inherited in product(*cells):
        for default in (None, "default"):
            ledger = MemoryLedger()
            entry = SimpleNamespace(name="cells", metadata={} if given is None else {"license": given})
            overrides = Overrides(
                entry, PUBLICATION, ledger, Values.of(license=default), Values.of(license=inherited)
            )
            if own is not None:
                overrides.add(Values.of(license=own), "earlier run")
            layers = overrides.layers()
            found = {each.name: each for each in overrides.explain(layers, Values.of(license=now))}["license"]
            expected = next((each for each in (now, own, given, inherited, default) if each is not None), None)
            assert found.value == overrides.resolve(layers, Values.of(license=now)).license == expected
            assert f"`{found.source}`" in sources


def keeps(cell):
    """What was asked and said of ``keep_urls``."""
    if cell == "-":
        return [(None, None), (False, True), (None, False)]
    return [(True, None), (True, False), (None, True)]


def befores(cell):
    """What was published before."""
    none = None
    kept = PublishedName("at://x", "bafyone", Values(), None)
    copied = PublishedName("at://x", "bafyone", Values(), "there")
    newer = PublishedName("at://x", "bafytwo", Values(), "there")
    return {
        "anything": [none, kept, copied, newer],
        "as copies, of the same data": [copied],
        "as copies, and this is new data": [newer],
        "at the index's own URLs, or never": [none, kept],
    }[cell]


class Store:
    """A data store that says where it is."""

    destination = "bucket"


@pytest.mark.parametrize("row", rows("Where the shards lie"), ids=lambda row: row[3][:20])
def test_shards_lie_where_the_table_says(row):
    said, named, before, expected, source = row
    stores = {"yes or no": [None, Store()], "yes": [Store()], "no": [None]}[named]
    for (now, earlier), store, published in product(keeps(said), stores, befores(before)):
        options = PromotionOptions(values=Values(keep_urls=now))
        layers = OverrideLayers(Values(keep_urls=earlier), 0)
        found = choose_location(PUBLICATION, store, options, layers, published)
        lies = {True: "copies in that store", False: "at the index's own URLs"}[found.store is not None]
        assert expected.startswith("those copies stay" if found.stays else lies)
        assert f"`{found.source}`" in source


@pytest.mark.filterwarnings("ignore::atdata_core.errors.NotPublicWarning")
def test_the_table_is_the_one_that_plan_shows(environ, account, digits_in_lab, monkeypatch):
    monkeypatch.setenv("ATDATA_HANDLE", account.handle)
    monkeypatch.setenv("ATDATA_APP_PASSWORD", account.password)
    shown = CliRunner().invoke(main, ["plan", digits_in_lab, "--license", "MIT"])
    assert shown.exit_code == 0, shown.output
    table = [line.strip() for line in shown.output.splitlines()]
    (page,) = re.findall(r"<!-- plan -->\n```text\n(.*?)\n```", PAGE, flags=re.DOTALL)
    told = [line.strip() for line in page.splitlines()]
    head = next(number for number, line in enumerate(table) if line.startswith("VALUE"))
    assert table[head].split() == told[0].split()
    assert [line.split()[0] for line in table[head + 1 : head + 7]] == [line.split()[0] for line in told[1:]]
    assert re.search(r"^license +MIT +- +MIT +asked now$", "\n".join(table), flags=re.MULTILINE)


@pytest.fixture
def digits_in_lab(box):
    """The name of a dataset in the lab's bucket."""
    from atdata_core.stores.s3.objects import S3Endpoint
    from atdata_pipelines.demo.digits import LAB, store_digits

    pytest.importorskip("sklearn")
    client = S3Endpoint.from_credentials(box.s3).client
    if LAB not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=LAB)
    store_digits(box)
    return "digits"
