"""Accounts as people type and paste them."""

import logging

import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.xrpc import identifiers
from atdata_core.atmosphere.xrpc.identifiers import plain_identifier, plain_password

HANDLE = "carol.example.org"
DID = "did:plc:abcdefghijklmnopqrstuvwx"

PASTED = [
    "@carol.example.org",
    "\uff20carol.example.org",
    "Carol.Example.ORG",
    "carol.example.org.",
    "  carol.example.org\r\n",
    "\u00a0carol.example.org\u3000",
    "\u2066carol.example.org\u2069",
    "\u200e@carol.example.org\u200f",
    "car\u00adol.exam\u200dple.org",
    "\ufeffcarol.example.org",
    "carol.example.org\ufe0f",
    "carol.example.org\x00",
    "at://carol.example.org",
    "AT://@carol.example.org/",
    "https://bsky.app/profile/carol.example.org",
    "http://deer.social/profile/Carol.example.org/post/3k?ref=x#y",
    "bsky.app/profile/@carol.example.org",
    "https://carol.example.org/",
    '"carol.example.org"',
    "'@carol.example.org',",
    "\u201ccarol.example.org\u201d",
    "<carol.example.org>",
    "carol.example.org, ",
    "acct:carol.example.org",
    "carol\u3002example.org",
    "carol\uff0eexample\uff61org\u3002",
    " \u202a@Carol.Example.org.\u202c\n",
]


@pytest.fixture(autouse=True)
def _first_time():
    identifiers._tell.cache_clear()


@pytest.mark.parametrize("given", PASTED)
def test_what_belongs_to_no_handle_is_taken_off_and_told(given, caplog):
    with caplog.at_level(logging.WARNING, "atdata_core"):
        assert plain_identifier(given) == HANDLE
    (said,) = caplog.messages
    assert said.endswith(f"; {HANDLE!r} is what is used.")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (f"@{DID}", DID),
        (f"at://{DID}", DID),
        ("DID:PLC:ABCDEFGHIJKLMNOPQRSTUVWX", DID),
        ("https://bsky.app/profile/did%3Aplc%3Aabcdefghijklmnopqrstuvwx", DID),
        (" did:web:Carol.example.org\n", "did:web:Carol.example.org"),
        (" Carol@example.org ", "Carol@example.org"),
        ("mailto:Carol@example.org", "Carol@example.org"),
        ("<MAILTO:o'neill@example.org>,", "o'neill@example.org"),
        (f'"{DID}",', DID),
    ],
)
def test_a_did_and_an_e_mail_address_keep_what_matters_in_them(given, meant):
    assert plain_identifier(given) == meant


@pytest.mark.parametrize("given", [HANDLE, DID, "carol@example.org", "carol", "a b.example.org", "x/y", ""])
def test_what_is_plain_or_no_account_stays_without_a_word(given, caplog):
    assert plain_identifier(given) == given
    assert caplog.messages == []


@pytest.mark.parametrize("given", ["abcd-1234\n", " abcd-1234 ", "\ufeffabcd-1234\r\n", "\u200babcd-1234\u00a0"])
def test_what_is_around_a_password_is_taken_off_and_told_without_showing_it(given, caplog):
    with caplog.at_level(logging.WARNING, "atdata_core"):
        assert plain_password(given) == "abcd-1234"
    assert len(caplog.messages) == 1
    assert "around the app password" in caplog.text
    assert "abcd" not in caplog.text


def test_a_password_keeps_what_is_inside_it(caplog):
    assert plain_password("two words") == "two words"
    assert caplog.messages == []


@pytest.mark.parametrize("before", ["@", "at://", "\u202a", "https://bsky.app/profile/", " "])
def test_a_login_and_whatever_takes_a_handle_take_it_as_it_is_pasted(before, environ, pds, account):
    client = AtmosphereClient(pds.url)
    client.login(f"{before}{account.handle.upper()}.\n", f" {account.password}\n")
    assert client.did == account.did
    pasted = f"{before}{account.handle}"
    stranger = AtmosphereClient(pds.url)
    assert stranger.did_of(pasted) == account.did
    assert stranger.list_records("a.b.c", repo=pasted) == ([], None)
    assert stranger.service_of(pasted) == pds.url
