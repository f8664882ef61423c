"""What the AWS configuration of this machine says (``AWS_*``, ``~/.aws``), found by boto3's own ways.

Sessions are made once per process and profile: keys of roles and of single sign-on are renewed by them.
"""

from __future__ import annotations

import os
import threading
from functools import cache, lru_cache
from typing import Any, NamedTuple

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# boto3 comes without types.


class ProfileSettings(NamedTuple):
    """Of a profile, what an S3 client needs besides keys; None where it says nothing."""

    endpoint_url: str | None = None
    region: str | None = None
    addressing_style: str | None = None
    ca_bundle: str | None = None


def client_of(profile: str | None, **options: Any) -> Any:
    """A boto3 client for S3 of a profile (None: ``AWS_PROFILE``, else ``[default]``); raises as botocore does."""
    with _lock:
        return _sessions(profile).boto3.client("s3", **options)


def _sessions(profile: str | None) -> _Sessions:
    # By process: a forked worker must not share its parent's connections. By variables: they may be set later.
    return _made(os.getpid(), profile, variables())


def variables() -> tuple[tuple[str, str], ...]:
    """Those of the environment that say where keys are found."""
    return tuple(sorted(each for each in os.environ.items() if each[0].startswith("AWS_")))


class _Sessions(NamedTuple):
    botocore: Any
    boto3: Any


# Neither makes clients in several threads at once.
_lock = threading.RLock()


@lru_cache(16)
def _made(_process: int, profile: str | None, _variables: tuple[tuple[str, str], ...]) -> _Sessions:
    import boto3.session
    import botocore.session

    session = botocore.session.Session(profile=profile)
    session.register_component("data_loader", _loader())
    return _Sessions(session, boto3.session.Session(botocore_session=session))


@cache
def _loader() -> Any:
    # What botocore knows of S3 takes 6 MB and a tenth of a second: once for all clients.
    from botocore.loaders import create_loader

    return create_loader()


def has_credentials(profile: str | None) -> bool:
    """Whether boto3's chain leads to keys: variables, profile, role, single sign-on, container, machine.

    True also where the chain is broken: whoever sends a request with it is told how.
    """
    from botocore.exceptions import BotoCoreError

    try:
        with _lock:
            return _sessions(profile).botocore.get_credentials() is not None
    except BotoCoreError:
        return True


def settings_of(profile: str | None) -> ProfileSettings:
    """The settings of a profile for S3; none where the configuration cannot be read, as a request will say."""
    from botocore.exceptions import BotoCoreError

    try:
        session = _sessions(profile).botocore
        scoped, services = session.get_scoped_config(), session.full_config.get("services", {})
        ignored = session.get_config_variable("ignore_configured_endpoint_urls")
        region = session.get_config_variable("region")
        ca_bundle = session.get_config_variable("ca_bundle")
    except BotoCoreError:
        return ProfileSettings()
    of_service = services.get(scoped.get("services"), {}).get("s3", {})
    # A section that is written on one line is text.
    of_s3 = scoped.get("s3", {})
    return ProfileSettings(
        endpoint_url=None if ignored else of_service.get("endpoint_url") or scoped.get("endpoint_url"),
        region=region,
        addressing_style=of_s3.get("addressing_style") if isinstance(of_s3, dict) else None,
        ca_bundle=ca_bundle,
    )
