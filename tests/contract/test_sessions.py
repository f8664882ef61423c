"""One session for all processes of an account, on both PDSes."""

from __future__ import annotations


def test_sixteen_processes_that_start_at_once_log_in_once(server, new_repo, logins):
    asked = logins(server.url, new_repo.handle, new_repo.password, processes=16)
    assert asked == {"createSession": 1, "putRecord": 16}
    assert len(new_repo.list(collection="a.b.c").json()["records"]) == 16


def test_two_processes_that_refresh_at_once_both_live_on(server, new_repo, logins):
    asked = logins(server.url, new_repo.handle, new_repo.password, processes=2, writes=10, every=2)
    assert (asked["createSession"], asked["putRecord"]) == (1, 20)
    # Each of them found its token too old nine times, and either renewed it or took the other's new one.
    assert 9 <= asked["refreshSession"] <= 18
    assert len(new_repo.list(collection="a.b.c").json()["records"]) == 20
