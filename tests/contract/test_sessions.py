"""One session for all processes of an account, on both PDSes."""

from __future__ import annotations

import secrets

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.errors import LoginError


def test_sixteen_processes_that_start_at_once_log_in_once(server, new_repo, logins):
    asked = logins(server.url, new_repo.handle, new_repo.password, processes=16)
    assert asked == {"createSession": 1, "putRecord": 16}
    assert len(new_repo.list(collection="a.b.c").json()["records"]) == 16


def test_two_processes_that_refresh_at_once_both_live_on(server, new_repo, logins):
    asked = logins(server.url, new_repo.handle, new_repo.password, processes=2, writes=18, every=2)
    assert (asked["createSession"], asked["putRecord"]) == (1, 36)
    # Each of them found its token too old nine times, and either renewed it or took the other's new one.
    assert 9 <= asked["refreshSession"] <= 18
    assert len(new_repo.list(collection="a.b.c").json()["records"]) == 36


def test_a_new_app_password_makes_a_session_of_its_own(official_pds, logins):
    """The reference PDS alone: the sandbox's knows one password for an account."""
    with httpx.Client(base_url=f"{official_pds.url}/xrpc/") as http:
        handle = f"user-{secrets.token_hex(5)}.test"
        given = {"handle": handle, "password": secrets.token_urlsafe(12), "email": f"{handle}@example.com"}
        made = http.post("com.atproto.server.createAccount", json=given).raise_for_status().json()
        http.headers["authorization"] = f"Bearer {made['accessJwt']}"

        def app_password(name):
            reply = http.post("com.atproto.server.createAppPassword", json={"name": name})
            return reply.raise_for_status().json()["password"]

        first, second = app_password("first"), app_password("second")
        assert logins(official_pds.url, handle, first, processes=2)["createSession"] == 1
        http.post("com.atproto.server.revokeAppPassword", json={"name": "first"}).raise_for_status()
    assert logins(official_pds.url, handle, second, processes=2)["createSession"] == 1
    assert logins(official_pds.url, handle, second, processes=2, writes=2, every=2)["createSession"] == 0


def test_an_account_that_was_deactivated_is_told_so_at_its_login(official_pds):
    """The reference PDS alone: the sandbox's keeps no such accounts."""
    with httpx.Client(base_url=f"{official_pds.url}/xrpc/") as http:
        handle, password = f"user-{secrets.token_hex(5)}.test", secrets.token_urlsafe(12)
        given = {"handle": handle, "password": password, "email": f"{handle}@example.com"}
        made = http.post("com.atproto.server.createAccount", json=given).raise_for_status().json()
        open_before = AtmosphereClient(official_pds.url)
        open_before.login(handle, password)
        access = {"authorization": f"Bearer {made['accessJwt']}"}
        http.post("com.atproto.server.deactivateAccount", json={}, headers=access).raise_for_status()
    with pytest.raises(LoginError, match=f"{handle} is deactivated"):
        open_before.create_once("a.b.c", "d", {"$type": "a.b.c"})
    with pytest.raises(LoginError, match=f"{handle} is deactivated"):
        AtmosphereClient(official_pds.url).login(f"@{handle}", password)
