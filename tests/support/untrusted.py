"""Text of strangers that tries to be more than text, and what a page made of it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LOCATION = "/locations/atdata-pipelines"
"""Where the UI has the pipeline; here, as a test is collected where no browser is installed, too."""

HOST = "evil.example"
"""Of addresses that are only to be shown; nobody answers there."""

FOUND = """hosts => {
    const found = [];
    for (const each of document.querySelectorAll("a, img, script, iframe, link, object, embed, form, area, base"))
        for (const name of ["href", "src", "data", "action", "srcset"]) {
            const said = each.getAttribute(name) || "";
            if (hosts.some(host => said.includes(host)) && !said.startsWith("/") &&
                !said.startsWith(location.origin)) found.push(`${each.tagName} ${name}=${said}`);
        }
    return found;
}"""
"""Elements of a page that point at a host."""


def hostile(where: str, url: str) -> str:
    """Everything that might become more than text, with the place that it is said in.

    Args:
        where: Tells the places apart in what a test prints.
        url: Of a server that must not be asked for anything.
    """
    return (
        f"![i]({url}/{where}.png) [l]({url}/{where}) {url}/{where} <{url}/{where}> www.{HOST}/{where} x@{HOST} "
        f"<img src={url}/{where} onerror=window.hostile=1><script>window.hostile=1</script>"
        f"<iframe src={url}/{where}></iframe><!-- c --> &lt;b&gt; `c` \\![b]({url}/{where}) | x | $y$ ~~s~~ "
        f"\u202eturned\u2066 un\u200bseen \x1b[1m\r\n\n# heading\n> quote\n- [x] task\n|a|\n|-|\n|![t]({url}/t)|\n"
        f"![r][r] [^f]\n\n[r]: {url}/{where}-r.png\n[^f]: {url}/f\n```\n~~~\n    {url}/{where}\n"
        f"http\\://{HOST}/{where} https://{HOST}/{where}`https://{HOST}|"
    )


def short_hostile(where: str, url: str) -> str:
    """The same in few bytes, on a line, for what has little room."""
    return f"![i]({url}/{where}.png) {url}/{where} <img src={url}/ onerror=hostile=1>"


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine: its URL, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()
