"""Redis, S3, the PDS and the place for copies, shared by all assets and set from the environment.

A field that is left alone is read from its variable when a run needs it, so nothing secret ever stands in
the configuration that Dagster shows, and definitions load where no variable is set. Another project can
set the fields in its own way (``dg.EnvVar``).
"""

import os
from dataclasses import replace
from functools import lru_cache
from typing import Any

import dagster as dg
from dagster_aws.s3 import S3Resource
from pydantic import Field

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.client import DEFAULT_PDS_URL
from atdata_core.atmosphere.identity import Resolver
from atdata_core.atmosphere.xrpc.session import Session
from atdata_core.errors import CredentialsError, RefusedError
from atdata_core.local import LocalIndex, S3DataStore
from atdata_core.state.redis_state import from_url
from atdata_core.stores.s3.clients import checked_endpoint
from atdata_core.stores.s3.objects import S3Endpoint, checked_style

DID_SILENCE = 5.0
"""Seconds that a PDS may be silent before it is asked again for a DID: Dagster ends a tick after 60."""


class MissingVariableError(RefusedError):
    """A variable of the environment that is needed and not set. Facts: ``variable``."""


def _optional(variable: str) -> str | None:
    return os.environ.get(variable, "").strip() or None


def _required(given: str | None, variable: str, what: str) -> str:
    value = given or _optional(variable)
    if value is None:
        raise MissingVariableError(
            f"{variable} is not set. It is {what}. Set it in the environment or in .env; .env.example lists "
            "all variables.",
            variable=variable,
        )
    return value


class RedisResource(dg.ConfigurableResource):
    """The index of local datasets, and the ledger beside it."""

    url: str | None = Field(
        default=None, description="redis://host:port/database. ATDATA_REDIS_URL where it is not given."
    )

    def index(self, *, silence: float | None = None) -> LocalIndex:
        """The index; its connections are shared by everything in this process.

        Args:
            silence: Seconds that Redis may be silent before it is asked again, and then given up.

        Raises:
            MissingVariableError: The server is not known.
            RefusedError: Its URL is none.
        """
        url = _required(self.url, "ATDATA_REDIS_URL", "the Redis that holds the index")
        return LocalIndex(_redis(url, "The url of the Redis resource" if self.url else "ATDATA_REDIS_URL", silence))


class ShardS3Resource(S3Resource):
    """S3 where the shards of local datasets lie.

    The fields are those of dagster-aws, and hold for the stages as for ``get_client``. What is not given
    comes from ``ATDATA_S3_ENDPOINT`` and the usual ``AWS_*`` names. Whether TLS is used stands in the
    address; ``use_ssl: false`` beside another address than an http:// one is refused.
    """

    max_attempts: int = Field(default=4, ge=1, description="How often a request is sent, the first time included.")

    def endpoint(self) -> S3Endpoint | None:
        """The service as the stages read it; None where neither address nor credentials are known.

        Raises:
            CredentialsError: The address is not that of an S3 service, or contradicts ``use_ssl``; the profile
                has no keys.
        """
        found = None if self.endpoint_url else S3Endpoint.from_environment()
        address = found.endpoint_url if found else None
        if self.endpoint_url:
            address = checked_endpoint(self.endpoint_url, "endpoint_url of the S3 resource")
        if self.use_unsigned_session:
            found = S3Endpoint.anonymous_at(address)
        elif self.profile_name:
            found = _of_profile(self.profile_name, address)
        elif self.aws_access_key_id:
            keys = (self.aws_access_key_id, self.aws_secret_access_key, self.aws_session_token)
            found = S3Endpoint(address, *keys)
        elif self.endpoint_url:
            found = S3Endpoint(address)
        return None if found is None else self._as_configured(found)

    def get_client(self) -> Any:
        """A boto3 client for S3, made once per process: the one that the stages use."""
        return (self.endpoint() or self._as_configured(S3Endpoint())).client

    def _as_configured(self, endpoint: S3Endpoint) -> S3Endpoint:
        if not self.use_ssl and not (endpoint.endpoint_url or "").startswith("http://"):
            raise CredentialsError(
                f"The S3 resource says use_ssl: false, but {endpoint.name} is reached through TLS. Give an "
                "endpoint_url that begins with http://, or leave use_ssl out.",
                source="use_ssl",
            )
        region = self.region_name or endpoint.region or _optional("AWS_REGION") or _optional("AWS_DEFAULT_REGION")
        return replace(endpoint.configured(), region=region, attempts=self.max_attempts, verify=self.verify)


class AtprotoResource(dg.ConfigurableResource):
    """The account that publishes. DIDs resolve through ``ATDATA_PLC_URL``."""

    pds_url: str | None = Field(
        default=None, description="URL of the PDS. ATDATA_PDS_URL where it is not given, else bsky.social."
    )
    handle: str | None = Field(default=None, description="ATDATA_HANDLE where it is not given.")
    app_password: str | None = Field(
        default=None, description="ATDATA_APP_PASSWORD where it is not given. Give dg.EnvVar: text would be shown."
    )

    def client(self) -> AtmosphereClient:
        """The client, logged in once for all processes of this machine: a PDS counts logins.

        Raises:
            MissingVariableError: Handle or app password is not known.
            LoginError: The PDS does not accept them.
        """
        handle = self._handle()
        password = _required(self.app_password, "ATDATA_APP_PASSWORD", f"an app password of {handle}")
        return _logged_in(self._pds_url(), handle, password)

    def anonymous(self) -> AtmosphereClient:
        """A client of the same PDS that nobody is logged in with."""
        return AtmosphereClient(self._pds_url())

    def did(self) -> str:
        """DID of the account, resolved without a login.

        Raises:
            MissingVariableError: The handle is not known.
            RecordNotFoundError: Nobody has that handle.
        """
        return _did(self._pds_url(), self._handle())

    def _handle(self) -> str:
        return _required(self.handle, "ATDATA_HANDLE", "the handle of the account that publishes")

    def _pds_url(self) -> str:
        return self.pds_url or _optional("ATDATA_PDS_URL") or DEFAULT_PDS_URL


class DestinationResource(dg.ConfigurableResource):
    """Where shards are copied to before they are published; without a bucket they stay where they are."""

    bucket: str | None = Field(
        default=None, description="ATDATA_PUBLISH_BUCKET where it is not given; neither: URLs are kept."
    )
    endpoint_url: str | None = Field(
        default=None, description="ATDATA_PUBLISH_ENDPOINT where it is not given, else as for reading."
    )
    access_key_id: str | None = Field(
        default=None, description="ATDATA_PUBLISH_ACCESS_KEY_ID where it is not given, else as for reading."
    )
    secret_access_key: str | None = Field(
        default=None,
        description="ATDATA_PUBLISH_SECRET_ACCESS_KEY where it is not given, else as for reading. "
        "Give dg.EnvVar: text would be shown.",
    )
    addressing_style: str | None = Field(
        default=None,
        description="path, virtual or auto; ATDATA_PUBLISH_ADDRESSING_STYLE where it is not given, else as for "
        "reading.",
    )
    public_url: str | None = Field(
        default=None,
        description="URL by which anybody reads the bucket; ATDATA_PUBLISH_PUBLIC_URL where it is not given.",
    )

    def outside_of_runs(self) -> "DestinationResource":
        """With what its variables hold, which Dagster reads for a run; raises ``MissingVariableError``."""
        given = {name: getattr(self, name) for name in DestinationResource.model_fields}
        for name, value in given.items():
            # Dagster's own way opens an instance for it, which takes longer than most commands.
            if isinstance(value, dg.EnvVar):
                given[name] = _required(
                    None, value.env_var_name, f"the {name} of the bucket that shards are copied to"
                )
        return DestinationResource(**given)

    def store(self, reading: S3Endpoint | None) -> S3DataStore | None:
        """The store that copies go to, or None.

        Args:
            reading: The service that shards are read from; its address and keys serve where no other are set.

        Raises:
            MissingVariableError: A bucket is named, but not who may write there.
            CredentialsError: The address is not that of an S3 service.
        """
        bucket = self.bucket or _optional("ATDATA_PUBLISH_BUCKET")
        if bucket is None:
            return None
        reading = reading or S3Endpoint()
        what = f"needed to copy shards into the bucket {bucket}"
        access_key = self.access_key_id or _optional("ATDATA_PUBLISH_ACCESS_KEY_ID")
        secret_key = self.secret_access_key or _optional("ATDATA_PUBLISH_SECRET_ACCESS_KEY")
        token = None
        if not (access_key or secret_key):
            access_key, secret_key, token = reading.access_key, reading.secret_key, reading.session_token
        # Without any, the AWS configuration may lead to some.
        if access_key or secret_key or not reading.signs:
            access_key = _required(access_key, "ATDATA_PUBLISH_ACCESS_KEY_ID", what)
            secret_key = _required(secret_key, "ATDATA_PUBLISH_SECRET_ACCESS_KEY", what)
        address = reading.endpoint_url
        if self.endpoint_url:
            address = checked_endpoint(self.endpoint_url, "endpoint_url of the destination")
        elif published := _optional("ATDATA_PUBLISH_ENDPOINT"):
            address = checked_endpoint(published, "ATDATA_PUBLISH_ENDPOINT")
        style = self.addressing_style or _optional("ATDATA_PUBLISH_ADDRESSING_STYLE")
        endpoint = replace(
            reading,
            endpoint_url=address,
            access_key=access_key,
            secret_key=secret_key,
            session_token=token,
            anonymous=False,
            addressing_style=checked_style(style, "the destination") if style else reading.addressing_style,
            # Trust in the certificate of one service is none in another's.
            verify=reading.verify if address == reading.endpoint_url else None,
        )
        public_url = self.public_url or _optional("ATDATA_PUBLISH_PUBLIC_URL")
        return S3DataStore(endpoint, bucket=bucket, public_url=public_url)


@lru_cache
def _redis(url: str, source: str, silence: float | None) -> Any:
    return from_url(url, source=source, **({} if silence is None else {"socket_timeout": silence}))


@lru_cache
def _logged_in(pds_url: str, handle: str, password: str) -> AtmosphereClient:
    client = AtmosphereClient(pds_url)
    client.login(handle, password, shared=True)
    return client


@lru_cache
def _did(pds_url: str, handle: str) -> str:
    return Resolver(Session(pds_url, timeout=DID_SILENCE)).did_of(handle)


def _of_profile(profile: str, address: str | None) -> S3Endpoint:
    # By name: keys of a role last an hour, and boto3 renews them.
    found = S3Endpoint.from_credentials({"AWS_PROFILE": profile, "AWS_ENDPOINT": address})
    if not found.signs:
        raise CredentialsError(
            f"The AWS profile {profile!r} holds no keys. Give another profile, or keys.", source=profile
        )
    return found
