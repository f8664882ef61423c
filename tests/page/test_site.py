"""The site of the pages: what it is laid out from, and what is told of one whose links are dead."""

import re
from pathlib import Path

import pytest
import yaml

from pages import site

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def laid_out(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "SOURCE", tmp_path / "pages")
    site.lay_out()
    return tmp_path / "pages"


def test_each_page_is_in_the_navigation_once(laid_out):
    text = (ROOT / "mkdocs.yml").read_text()
    named = re.findall(r"\S+\.md$", text.partition("\nnav:\n")[2], re.MULTILINE)
    assert sorted(named) == sorted(page.relative_to(laid_out).as_posix() for page in laid_out.rglob("*.md"))
    assert yaml.safe_load(text)["theme"]["font"] is False


def test_links_from_file_to_file_lead_to_pages_of_the_site_and_to_copies_of_files(laid_out):
    start, commands = (laid_out / "index.md").read_text(), (laid_out / "reference" / "commands.md").read_text()
    assert "](tutorial.md)" in start
    assert "](contributing.md)" in start
    assert "](files/env.example.txt)" in start
    assert "](../files/env.example.txt)" in commands
    assert "](../index.md)" in (laid_out / "how-to" / "services.md").read_text()
    assert (laid_out / "files" / "env.example.txt").read_text() == (ROOT / ".env.example").read_text()


def test_a_dead_link_a_missing_place_and_what_is_fetched_from_elsewhere_are_named(tmp_path):
    page = """<link href="site.css"><script src="//cdn.example.org/x.js"></script><h1 id="here"></h1>
    <a href="#here">a</a><a href="#there">b</a><a href="two.html#end">c</a><a href="three.html">d</a>
    <a href="https://example.org">e</a>"""
    (tmp_path / "one.html").write_text(page)
    (tmp_path / "two.html").write_text('<p id="start"></p>')
    (tmp_path / "site.css").write_text("@import 'https://fonts.example.org/a.css';")
    assert site.problems(tmp_path) == [
        "one.html fetches //cdn.example.org/x.js",
        "one.html links to #there, a place that one.html has not",
        "one.html links to two.html#end, a place that two.html has not",
        "one.html links to three.html, which is not there",
        "site.css fetches https://fonts.example.org/a.css",
    ]
