"""How one logs in to the sandbox's PDS and the reference one, and who may write."""

from __future__ import annotations

import base64
import json

import pytest

from pds_replies import NOBODY, refused


def _login(repo, identifier, password):
    return repo.post("server.createSession", token="", identifier=identifier, password=password)


def _claims(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def test_one_logs_in_with_handle_or_did(repo):
    for identifier in (repo.handle, repo.did, repo.handle.upper()):
        session = _login(repo, identifier, repo.password).raise_for_status().json()
        assert (session["did"], session["handle"], session["active"]) == (repo.did, repo.handle, True)
        who = repo.get("server.getSession", token=session["accessJwt"]).json()
        assert (who["did"], who["handle"]) == (repo.did, repo.handle)


@pytest.mark.parametrize("password", ["wrong", "", "x" * 600])
def test_a_wrong_password_is_refused(repo, password):
    assert refused(_login(repo, repo.handle, password), 401, "AuthenticationRequired")


@pytest.mark.parametrize("identifier", ["nobody.test", NOBODY, "x"])
def test_an_unknown_account_is_refused_as_a_wrong_password_is(repo, identifier):
    assert refused(_login(repo, identifier, repo.password), 401, "AuthenticationRequired")


def test_tokens_last_two_hours_and_ninety_days(repo):
    access, refresh = _claims(repo.access), _claims(repo.refresh)
    assert access["exp"] - access["iat"] == 2 * 60 * 60
    assert refresh["exp"] - refresh["iat"] == 90 * 24 * 60 * 60


def test_a_write_needs_a_token(repo):
    given = {"repo": repo.did, "collection": repo.collection, "rkey": "r", "record": {}}
    assert refused(repo.post("repo.putRecord", token="", **given), 401, "AuthMissing")
    assert refused(repo.post("repo.putRecord", token="nonsense", **given), 400, "InvalidToken")
    assert refused(repo.post("repo.putRecord", token=repo.refresh, **given), 400, "InvalidToken")
    tampered = repo.access[:-4] + ("AAAA" if not repo.access.endswith("AAAA") else "BBBB")
    assert refused(repo.post("repo.putRecord", token=tampered, **given), 400, "InvalidToken")


def test_one_writes_into_the_own_repository_alone(repo, other_repo):
    given = {"collection": repo.collection, "rkey": "r", "record": {}}
    assert repo.post("repo.putRecord", repo=repo.handle, **given).status_code == 200
    assert refused(repo.post("repo.putRecord", repo=other_repo.did, **given), 401, "AuthenticationRequired")
    assert refused(repo.post("repo.putRecord", repo=NOBODY, **given), 403, "AccountNotFound")
    assert refused(repo.post("repo.putRecord", repo="x", **given), 400, "InvalidRequest")


def test_a_refresh_token_gives_a_new_pair_and_once_more_the_same_session(repo):
    old = _login(repo, repo.did, repo.password).json()["refreshJwt"]
    first = repo.post("server.refreshSession", token=old).json()
    assert first["did"] == repo.did
    assert _claims(first["refreshJwt"])["jti"] != _claims(old)["jti"]
    assert repo.get("server.getSession", token=first["accessJwt"]).status_code == 200
    # The reply may have been lost, so the old token works for a while and leads to the same successor.
    again = repo.post("server.refreshSession", token=old).json()
    assert _claims(again["refreshJwt"])["jti"] == _claims(first["refreshJwt"])["jti"]


def test_a_refresh_needs_a_refresh_token(repo):
    assert refused(repo.post("server.refreshSession", token=repo.access), 400, "InvalidToken")
    assert refused(repo.post("server.refreshSession", token="nonsense"), 400, "InvalidToken")
    assert refused(repo.post("server.refreshSession", token=""), 401, "AuthMissing")


def test_a_session_that_was_ended_is_not_refreshed(repo):
    token = _login(repo, repo.did, repo.password).json()["refreshJwt"]
    assert repo.post("server.deleteSession", token=token).status_code == 200
    assert refused(repo.post("server.refreshSession", token=token), 400, "ExpiredToken")


def test_the_atproto_client_works_and_goes_on_from_a_session_string(repo, server):
    from atproto import Client

    client = Client(server.url)
    client.login(repo.handle, repo.password, fetch_bsky_profile=False)
    made = client.com.atproto.repo.create_record(
        {"repo": repo.did, "collection": repo.collection, "record": {"n": 1}}
    )
    again = Client(server.url)
    again.login(session_string=client.export_session_string(), fetch_bsky_profile=False)
    again.com.atproto.server.refresh_session(headers={"Authorization": f"Bearer {repo.refresh}"})
    rkey = made.uri.rpartition("/")[2]
    read = again.com.atproto.repo.get_record({"repo": repo.did, "collection": repo.collection, "rkey": rkey})
    assert (read.cid, read.value.n) == (made.cid, 1)
    listed = again.com.atproto.repo.list_records({"repo": repo.did, "collection": repo.collection})
    assert [record.uri for record in listed.records] == [made.uri]
    for each in (client, again):
        each.request.close()
