"""Pages that state facts of the code state those that it has."""

import re
from dataclasses import replace
from pathlib import Path

from atdata_core import errors
from atdata_core.common import retry_after
from atdata_core.errors import AtdataError
from atdata_core.promotion.scheduling import retry_policy
from atdata_pipelines.assets import step_retries
from pages.reference import options
from reliability import document, measurements, write

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RETRIES = (DOCS / "explanation" / "retries.md").read_text()


def _span(seconds):
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h"


def test_the_glossary_has_each_word_once():
    rows = re.findall(r"^\| ([^|]+) \|", (DOCS / "reference" / "glossary.md").read_text(), re.MULTILINE)
    words = [row for row in rows if row != "word"]
    assert len(words) == len(set(words)) <= 25


def test_the_page_on_retries_has_the_pauses_of_the_code():
    rows = dict(re.findall(r"^\| ([^|]+) \| (.+) \|$", RETRIES, re.MULTILINE))
    assert rows["request"].startswith(f"{retry_after.ATTEMPTS} times | 0.25 s")
    assert f"up to {retry_after.LONGEST_WAIT:.0f} s" in rows["request"]
    assert rows["step"].startswith(f"{step_retries.MAX_RETRIES} retries | {step_retries.POLICY.delay} s")
    assert f"up to {_span(step_retries.LONGEST_WAIT)}" in rows["step"]
    own = ", ".join(_span(pause) for pause in retry_policy.PAUSES)
    assert rows["dataset, a failure of its own"].startswith(f"{len(retry_policy.PAUSES)} times | {own} |")
    assert (
        ", ".join(_span(pause) for pause in retry_policy.PASSING_PAUSES) in rows["dataset, a failure that passes"]
    )


def test_every_file_that_the_page_on_retries_names_is_there():
    named = re.findall(r"\b[a-z_0-9]+(?:/[a-z_0-9]+)+\.py\b", RETRIES)
    assert len(named) == 7
    for name in named:
        assert any((ROOT / package / name).is_file() for package in ("atdata_core", "atdata_pipelines")), name


def test_the_tree_of_errors_has_each_of_them_below_its_base():
    tree = errors.__doc__.partition("```text\n")[2].partition("```")[0]
    found, above = {}, []
    for line in tree.splitlines():
        name = re.match(r"([│├└─ ]*)(\w+)", line)
        if not hasattr(errors, name[2]):
            continue
        above = [*above[: len(name[1]) // 4], name[2]]
        found[name[2]] = above[-2] if len(above) > 1 else None
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, AtdataError)]
    own = {kind.__name__: kind.__bases__[0].__name__ for kind in kinds}
    assert found == {**own, "AtdataError": None}


def test_each_place_that_contributing_names_is_there():
    named = re.findall(
        r"`((?:atdata_\w+|tests|core|config)(?:/[\w.]+)*/?)`", (ROOT / "CONTRIBUTING.md").read_text()
    )
    assert len(named) > 20
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "atdata_pipelines" / name).exists(), name


def test_the_page_of_the_options_is_made_from_them():
    assert (DOCS / "reference" / "options.md").read_text() == options(), "`make docs` writes the page anew"


def test_the_page_on_reliability_is_what_its_measurements_give():
    page = DOCS / "reliability.md"
    assert document(*measurements(page)) == page.read_text()
    assert "## More" not in page.read_text()


def test_a_proof_that_is_run_again_takes_the_place_of_its_rows_alone(tmp_path):
    page = tmp_path / "reliability.md"
    page.with_suffix(".json").write_text((DOCS / "reliability.json").read_text())
    before = measurements(page)[1]
    again = replace(before[0], measured="so", revision="abc")
    write(page, [again])
    after = measurements(page)[1]
    assert [row for row in after if row.file == again.file] == [again]
    others = [row for row in before if row.file != again.file]
    assert sorted(map(str, others)) == sorted(str(row) for row in after if row.file != again.file)
    assert "Measured: so." in page.read_text()
