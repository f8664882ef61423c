"""What the processes of an account on this machine share, as a PDS counts logins: a session, and when to log in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, cast

from atdata_core.common.state_file import StateFile


class Tokens(NamedTuple):
    """A session: whose it is, its two tokens, and the URL of the account's own PDS."""

    handle: str
    did: str
    access: str
    refresh: str
    pds: str

    def __repr__(self) -> str:
        return f"Tokens(handle={self.handle!r}, did={self.did!r})"


_EARLY = 15 * 60
"""Seconds before its end from which on an access token is renewed."""

_LONGEST = 86_400.0
"""Seconds that logins may be held back; a file that says more was written by another clock."""


class LoginLimit:
    """Until when a service takes no more logins of an account.

    Args:
        service: URL that logins go to.
        login: As it is given at the login, which is what services count by.
    """

    def __init__(self, service: str, login: str) -> None:
        self._about = {"service": service, "login": login}
        self._file = StateFile("logins", json.dumps(self._about, sort_keys=True))

    def seconds(self) -> float:
        """How long it is until then; 0 where a login may be tried."""
        kept = self._file.read() or {}
        until: Any = kept.get("until") if self._about.items() <= kept.items() else None
        left = until - time.time() if isinstance(until, int | float) else 0.0
        return left if 0 < left <= _LONGEST else 0.0

    def keep(self, seconds: float) -> None:
        """Note that it is so long from now."""
        with self._file.locked():
            self._file.write({**self._about, "until": time.time() + seconds})


class SessionFile:
    """The session of an account at a service, and a lock for whoever makes or renews it.

    Args:
        service: URL that logins go to.
        login: Handle as it is given at the login.
        password: Of this process. The file keeps a salted check of the one that made the session.
    """

    def __init__(self, service: str, login: str, password: str) -> None:
        self.login = login
        self.password = password
        self._about = {"service": service, "login": login.strip().lower()}
        self._file = StateFile("sessions", json.dumps(self._about, sort_keys=True))

    def __repr__(self) -> str:
        return f"SessionFile({self._about['login']!r} at {self._about['service']!r})"

    def locked(self) -> AbstractContextManager[bool]:
        """Hold the session against other processes and threads."""
        return self._file.locked()

    def of_password(self) -> Tokens | None:
        """The session, where the password of this process made it and it has not expired."""
        kept = self._kept()
        return _tokens(kept) if kept and _made_by(self.password, kept) else None

    def of_account(self, did: str) -> Tokens | None:
        """The session, where it is that account's; another of its app passwords may have made it."""
        found = _tokens(self._kept() or {})
        return found if found is not None and found.did == did else None

    def keep(self, tokens: Tokens) -> None:
        """Put the session of a login there."""
        salt = os.urandom(16)
        self._write(tokens, {"salt": salt.hex(), "scrypt": _derived(self.password, salt).hex()})

    def keep_renewed(self, tokens: Tokens) -> None:
        """Put new tokens of the session there, which belong to the password that made it."""
        kept = self._kept()
        if kept is None:
            self.keep(tokens)
        else:
            self._write(tokens, kept.get("password"))

    def drop(self) -> None:
        """Forget a session that has ended."""
        self._file.remove()

    def _write(self, tokens: Tokens, check: Any) -> None:
        self._file.write({**self._about, "session": tokens._asdict(), "password": check})

    def _kept(self) -> dict[str, Any] | None:
        kept = self._file.read()
        return kept if kept and self._about.items() <= kept.items() else None


def _tokens(kept: dict[str, Any]) -> Tokens | None:
    """The session in a file; None where it is none, not all of one account, or over."""
    fields: Any = kept.get("session")
    if not isinstance(fields, dict):
        return None
    values = [cast("dict[str, Any]", fields).get(name) for name in Tokens._fields]
    if not all(isinstance(value, str) and value for value in values):
        return None
    tokens = Tokens(*cast("list[str]", values))
    access, refresh = _claims(tokens.access), _claims(tokens.refresh)
    if not access.get("sub") == refresh.get("sub") == tokens.did:
        return None
    end: Any = refresh.get("exp")
    return tokens if isinstance(end, int) and end > time.time() else None


def _claims(token: str) -> dict[str, Any]:
    """What a token says of itself; the service alone can tell whether it is genuine."""
    try:
        part = token.split(".")[1]
        claims: Any = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, IndexError, RecursionError):
        return {}
    return cast("dict[str, Any]", claims) if isinstance(claims, dict) else {}


def is_near_its_end(token: str) -> bool:
    """Whether an access token is over soon; of one whose end cannot be read the service will tell."""
    end: Any = _claims(token).get("exp")
    return isinstance(end, int | float) and time.time() > end - _EARLY


def _made_by(password: str, kept: dict[str, Any]) -> bool:
    try:
        salt, check = (bytes.fromhex(kept["password"][name]) for name in ("salt", "scrypt"))
    except (KeyError, TypeError, ValueError):
        return False
    return hmac.compare_digest(_derived(password, salt), check)


def _derived(password: str, salt: bytes) -> bytes:
    # 16 MiB and some 50 ms: a stolen file does not give the password away.
    return hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1)
