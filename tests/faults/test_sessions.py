"""A day's worth of runs, each in need of a login."""

from __future__ import annotations

import secrets

import httpx
import pytest

pytestmark = pytest.mark.faults


def test_two_hundred_runs_of_a_day_log_in_a_few_times(official_pds, logins, reliability):
    handle, password = f"user-{secrets.token_hex(6)}.test", secrets.token_urlsafe(12)
    httpx.post(
        f"{official_pds.url}/xrpc/com.atproto.server.createAccount",
        json={"handle": handle, "password": password, "email": f"{handle}@example.com"},
    ).raise_for_status()
    # Each run finds its token too old once, so that renewals meet as well.
    asked = logins(official_pds.url, handle, password, processes=8, runs=25, writes=2, every=2)
    assert asked["putRecord"] == 400
    assert asked["createSession"] <= 5
    reliability(
        "200 runs of 8 processes at once, each with a login and a token that has expired",
        "at most 5 `createSession`",
        f"{asked['createSession']} `createSession`, {asked['refreshSession']} `refreshSession`",
        runs=200,
    )
