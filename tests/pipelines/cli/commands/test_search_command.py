"""``search``: over accounts on a real PDS, and over an AppView, whose answers have the form of the known one's."""

import http.server
import json
import threading
from urllib.parse import parse_qs, urlsplit

import pytest

from atdata_core.atmosphere import app_view as module
from atdata_core.atmosphere.app_view import AppView

DID = "did:plc:abcdefghijklmnopqrstuvwx"


def entry(number, name="cells", **fields):
    uri = f"at://{DID}/science.alt.dataset.entry/{number}"
    return {"uri": uri, "cid": "bafy", "did": DID, "rkey": str(number), "name": name, "tags": None, **fields}


@pytest.fixture
def app_view(monkeypatch):
    """An AppView: its answers by query, which get the parameters; ``asked`` are those that came."""

    class View(http.server.BaseHTTPRequestHandler):
        answers, asked = {}, []

        def do_GET(self):
            parts = urlsplit(self.path)
            query, given = parts.path.rpartition(".")[2], parse_qs(parts.query)
            self.asked.append((query, given))
            answer = self.answers.get(query, lambda given: None)(given)
            body = json.dumps({"error": "NotFound"} if answer is None else answer).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), View) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("ATDATA_APPVIEW_URL", f"http://127.0.0.1:{server.server_port}/")
        yield View
        server.shutdown()


def test_accounts_that_are_named_are_searched_without_a_login(publish, account, command, monkeypatch):
    uri = publish("lab/pictures", metadata={"tags": ["Nuclei"]})
    publish("other", start=9)
    for name in ("ATDATA_REDIS_URL", "ATDATA_APP_PASSWORD", "ATDATA_HANDLE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name)
    found = command("search", "PICTURES", "--account", account.handle, "--json")
    assert [json.loads(line) for line in found.stdout.splitlines()] == [
        {"uri": uri, "name": "lab/pictures", "description": None, "tags": ["Nuclei"], "license": "CC-BY-4.0",
         "current": True},
    ]  # fmt: skip
    assert f"1 dataset found. Asked: {account.handle}." in found.stderr
    tagged = command("search", "--tag", "Nuclei", "--account", account.did)
    assert tagged.stdout == f"lab/pictures\n  {uri}\n  license CC-BY-4.0; tags Nuclei\n"
    for nothing in (("pictures", "nothing"), ("pictures", "--tag", "nuclei")):
        assert "0 datasets found" in command("search", *nothing, "--account", account.did).stderr


def test_an_appview_is_asked_where_one_is_set_page_by_page(command, app_view, environ):
    first = [entry(n, description="<b>cells</b>\nand more", tags=["a", "b"], license="MIT") for n in range(2)]

    def search(given):
        page = given.get("cursor") == ["2"]
        return {"entries": [entry(2, tags=["a"])]} if page else {"entries": [*first, {"no": 1}], "cursor": "2"}

    app_view.answers.update(searchDatasets=search, resolveLabel=lambda given: {"uri": first[1]["uri"], "cid": ""})
    found = command("search", "cells", "here", "--tag", "a", "--json")
    assert found.exit_code == 0, found.output
    told = [json.loads(line) for line in found.stdout.splitlines()]
    assert [(each["uri"][-1], each["current"]) for each in told] == [("0", False), ("1", True), ("2", False)]
    assert [query for query, _ in app_view.asked].count("resolveLabel") == 1
    query, given = app_view.asked[0]
    assert (query, given) == ("searchDatasets", {"q": ["cells here"], "tags": ["a"], "limit": ["100"]})
    assert "3 datasets found. Asked: the AppView http://127.0.0.1:" in found.stderr
    lines = command("search", "cells", "--tag", "b").stdout.splitlines()
    assert lines[:2] == ["cells  (an earlier entry)", f"  {first[0]['uri']}"]
    assert lines[2:4] == ["  <b>cells</b>", "  license MIT; tags a, b"]


def test_without_words_an_appview_lists_and_an_account_is_its_did(command, app_view, account, environ):
    app_view.answers["listEntries"] = lambda given: {"entries": [entry(0, tags=["a"]), entry(1)]}
    found = command("search", "--account", account.handle, "--tag", "a")
    assert found.stdout == f"cells\n  at://{DID}/science.alt.dataset.entry/0\n  tags a\n"
    assert app_view.asked[0] == ("listEntries", {"repo": [account.did], "limit": ["100"]})


def test_more_than_a_person_reads_is_not_asked_for(command, app_view, environ):
    def search(given):
        at = int(given.get("cursor", ["0"])[0])
        return {"entries": [entry(n) for n in range(at, at + 100)], "cursor": str(at + 100)}

    app_view.answers["searchDatasets"] = search
    found = command("search", "cells")
    assert found.stdout.count("cells\n") == 100
    assert "100 datasets found, the first 100; more words tell fewer." in found.stderr
    assert sum(query == "searchDatasets" for query, _ in app_view.asked) == 2


def test_a_search_that_stops_before_the_end_says_so(app_view, monkeypatch, caplog):
    monkeypatch.setattr(module, "_MOST_PAGES", 2)
    app_view.answers["listEntries"] = lambda given: {
        "entries": [entry(0)],
        "cursor": str(int(given.get("cursor", ["0"])[0]) + 1),
    }
    assert len([*AppView().search([])]) == 2
    assert "has more datasets than the 2 pages that were read." in caplog.text


def test_nobody_to_ask_and_no_appview_are_told_with_the_way_out(command, app_view, monkeypatch, environ):
    wrong = command("search", "cells")
    assert wrong.exit_code == 1
    assert "NotFound" in wrong.stderr
    app_view.answers["searchDatasets"] = lambda given: {}
    assert "did not answer as an AppView of datasets does" in command("search", "x").stderr
    monkeypatch.setenv("ATDATA_APPVIEW_URL", "appview.example.org")
    assert "which is no URL of an AppView" in command("search", "cells").stderr
    monkeypatch.delenv("ATDATA_APPVIEW_URL")
    nobody = command("search", "cells")
    assert (nobody.exit_code, "name accounts with --account" in nobody.stderr) == (2, True)
    assert command("search").exit_code == 2
