"""The site of ``docs/``: ``python -m pages.site`` builds it in ``.artifacts/site``, and fails where a link is dead.

In the repository a link goes from file to file, so that it holds there; in the site it leads to what the site has
of that file. So the pages are laid out anew before they are built, and those of the top folder with them.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / ".artifacts" / "pages"
"""What the site is built from."""
SITE = ROOT / ".artifacts" / "site"
TOP = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Pages of the site that are files of the top folder."""

_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")


def lay_out() -> None:
    """The pages, with links to what the site has."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "docs", SOURCE)
    for name, page in TOP.items():
        shutil.copy(ROOT / name, SOURCE / page)
    tops = {page: name for name, page in TOP.items()}
    for file in SOURCE.rglob("*.md"):
        page = file.relative_to(SOURCE).as_posix()
        folder, own = posixpath.dirname(tops.get(page, f"docs/{page}")), posixpath.dirname(page)

        def link(match: re.Match[str], folder: str = folder, own: str = own) -> str:
            named = posixpath.normpath(posixpath.join(folder, match[1]))
            return posixpath.relpath(_in_site(named), own) if (ROOT / named).is_file() else match[1]

        file.write_text(_LINK.sub(link, file.read_text()))


def _in_site(name: str) -> str:
    """Where the site has a file of the repository."""
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    if name in TOP:
        return TOP[name]
    # As text, which a browser shows; servers of files pass over what begins with a dot.
    copy = SOURCE / "files" / f"{name.lstrip('.')}.txt"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / name, copy)
    return copy.relative_to(SOURCE).as_posix()


class _Page(HTMLParser):
    """What a page of the site has and names: ``ids``, ``links``, and what a browser would fetch with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif named := given.get("src") or (given.get("href") if tag == "link" else None):
            self.fetched.append(named)


def problems(site: Path) -> list[str]:
    """Links of a site that lead nowhere, and what it would fetch from elsewhere."""
    pages = {file: _Page(file.read_text()) for file in sorted(site.rglob("*.html"))}
    found: list[str] = []
    for file, page in pages.items():
        where = file.relative_to(site)
        found += [f"{where} fetches {each}" for each in page.fetched if re.match(r"(\w+:)?//", each)]
        # What stands for a page that is not there has links from the root of a server.
        for each in page.links if file.name != "404.html" else ():
            path, anchor = (unquote(part) for part in urldefrag(each))
            if re.match(r"\w+:", each) or each == "#":
                continue
            target = (file.parent / path).resolve() if path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{where} links to {each}, which is not there")
            elif anchor and target in pages and anchor not in pages[target].ids:
                found.append(f"{where} links to {each}, a place that {target.relative_to(site)} has not")
    for file in site.rglob("*.css"):
        if named := re.search(r"(?:url\(|@import)\s*['\"]?((?:\w+:)?//[^'\")]+)", file.read_text()):
            found.append(f"{file.relative_to(site)} fetches {named[1]}")
    return found


def main() -> int:
    """Build it; 1 where something is wrong with it."""
    lay_out()
    command = [Path(sys.executable).with_name("zensical"), "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode:
        print(said, file=sys.stderr)
        return 1
    # What is wrong with a docstring does not end a strict build.
    wrong = [line for line in said.splitlines() if line.startswith("griffe:")] + problems(SITE)
    print("\n".join(wrong) or f"{len(list(SITE.rglob('*.html')))} pages: {SITE.relative_to(ROOT)}/index.html")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
