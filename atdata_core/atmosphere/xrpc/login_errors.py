"""Why a service lets an account not in, or not write: each cause by its name."""

from __future__ import annotations

from atdata_core.errors import AtdataError, LoginError, RateLimitedError, ServiceRefusedError

_STATES = {
    "takedown": ("has been taken down", "Its service says why: write to the service's support."),
    "takendown": ("has been taken down", "Its service says why: write to the service's support."),
    "suspended": ("is suspended", "Its service says why and for how long: write to the service's support."),
    "deactivated": ("is deactivated", "Reactivate it in the settings of an app of the network, then try again."),
    "deleted": ("is deleted", "Use another account."),
}
"""By what the name of an error ends with, or the ``status`` of a session."""
_WRONG = ("authenticationrequired", "authrequired", "invalidcredentials", "invalidpassword", "unauthorized")


def of_login(failure: ServiceRefusedError, login: str) -> AtdataError:
    """The error of a login that was refused with ``failure``; where it was not the account, ``failure`` itself."""
    status, name = failure.facts.get("status"), failure.facts.get("error")
    if name is None or status not in (400, 401, 403):
        return failure  # a page of something before the service, or no such method: nobody looked at the account
    service, said = failure.facts.get("service"), failure.message.rpartition("It answered ")[2].rstrip(".")
    if found := of_account(failure, login):
        return found
    if "factortoken" in name.lower():
        return LoginError(
            f"{service} sends {login} a code by e-mail at each login (two factors), which no program can give "
            f"({said}). Make an app password in the account's settings: it needs no code.",
            handle=login,
            service=service,
        )
    if name.lower() == "passwordresetrequired":
        return LoginError(
            f"{service} lets {login} log in only after a new password was set ({said}). Reset the password of the "
            "account in an app of the network, then make a new app password.",
            handle=login,
            service=service,
        )
    if name.lower() in _WRONG or "password" in said.lower():
        return LoginError(
            f"Wrong handle or app password of {login!r} for {service} ({said}). "
            "Check ATDATA_HANDLE and ATDATA_APP_PASSWORD, or make a new app password.",
            handle=login,
            service=service,
        )
    return LoginError(
        f"{service} does not let {login} log in: it answered {said}. Ask whoever runs it.",
        handle=login,
        service=service,
    )


def of_account(failure: ServiceRefusedError, login: str) -> LoginError | None:
    """The error of an account that is not active, where ``failure`` says so; else None."""
    name = (failure.facts.get("error") or "").lower()
    state = name.removeprefix("account").removeprefix("repo")
    return of_state(state, login, failure.facts.get("service")) if state != name and state in _STATES else None


def of_state(state: str, login: str, service: str | None) -> LoginError:
    """The error of an account that is not active; ``state`` as a service calls it."""
    what, then = _STATES.get(state, ("is not active", "Ask the service's support."))
    return LoginError(f"The account {login} {what} at {service}. {then}", handle=login, service=service)


def too_many_logins(service: str, login: str, seconds: float | None) -> RateLimitedError:
    """The error of a login that the service takes no more for now."""
    when = "later" if seconds is None else f"in {seconds:.0f} s"
    return RateLimitedError(
        f"{service} takes no more logins of {login} for now (HTTP 429). Try again {when}; other accounts, reading, "
        "and sessions that stand are not held back.",
        service=service,
        status=429,
        retry_after=seconds,
    )
