"""Redis, S3, the PDS and the place for copies, shared by all assets and set from the environment.

A field that is left alone is read from its variable when a run needs it, so nothing secret ever stands in
the configuration that Dagster shows, and definitions load where no variable is set. Another project can
set the fields in its own way (``dg.EnvVar``).
"""

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_aws.s3 import S3Resource
from pydantic import Field

from atdata_core.access.s3 import POOL, S3Endpoint
from atdata_core.errors import RefusedError

if TYPE_CHECKING:
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.local import LocalIndex, S3DataStore


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

    def index(self) -> "LocalIndex":
        """The index; its connections are shared by everything in this process.

        Raises:
            MissingVariableError: The server is not known.
            RefusedError: Its URL is none.
        """
        from atdata_core.local import LocalIndex

        url = _required(self.url, "ATDATA_REDIS_URL", "the Redis that holds the index")
        return LocalIndex(_redis(url, "The url of the Redis resource" if self.url else "ATDATA_REDIS_URL"))


class ShardS3Resource(S3Resource):
    """S3 where the shards of local datasets lie.

    The fields are those of dagster-aws. What is not given comes from ``ATDATA_S3_ENDPOINT`` and the usual
    ``AWS_*`` names; every ``get_client`` gives the same client.
    """

    def endpoint(self) -> S3Endpoint | None:
        """The service as the stages read it; None where neither address nor credentials are known.

        Raises:
            CredentialsError: The address is not that of an S3 service.
        """
        if not (self.endpoint_url or self.aws_access_key_id or self.profile_name or self.use_unsigned_session):
            return S3Endpoint.from_environment()
        address = self.endpoint_url or _optional("ATDATA_S3_ENDPOINT")
        if self.use_unsigned_session:
            return S3Endpoint.anonymous_at(address, self.region_name)
        keys = (self.aws_access_key_id, self.aws_secret_access_key, self.aws_session_token)
        if self.profile_name:
            keys = _profile_keys(self.profile_name)
        return S3Endpoint(address, *keys, region=self.region_name)

    def get_client(self) -> Any:
        """A boto3 client for S3, made once per process."""
        return _s3_client(self.endpoint() or S3Endpoint(), self.max_attempts, self.use_ssl, self.verify)


class AtprotoResource(dg.ConfigurableResource):
    """The account that publishes. DIDs resolve through ``ATDATA_PLC_URL``."""

    pds_url: str | None = Field(
        default=None, description="URL of the PDS. ATDATA_PDS_URL where it is not given, else bsky.social."
    )
    handle: str | None = Field(default=None, description="ATDATA_HANDLE where it is not given.")
    app_password: str | None = Field(
        default=None,
        description="ATDATA_APP_PASSWORD where it is not given. Give dg.EnvVar: text would be shown.",
    )

    def client(self) -> "AtmosphereClient":
        """The client, logged in once per process: a PDS counts logins.

        Raises:
            MissingVariableError: Handle or app password is not known.
            LoginError: The PDS does not accept them.
        """
        handle = self._handle()
        password = _required(self.app_password, "ATDATA_APP_PASSWORD", f"an app password of {handle}")
        return _logged_in(self._pds_url(), handle, password)

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
        from atdata_core.atmosphere.client import DEFAULT_PDS_URL

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
    public_url: str | None = Field(
        default=None,
        description="URL by which strangers read the bucket; ATDATA_PUBLISH_PUBLIC_URL where it is not given.",
    )

    def store(self, reading: S3Endpoint | None) -> "S3DataStore | None":
        """The store that copies go to, or None.

        Args:
            reading: The service that shards are read from; its address and keys serve where no other are set.

        Raises:
            MissingVariableError: A bucket is named, but not who may write there.
        """
        from atdata_core.local import S3DataStore

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
        credentials = {
            "AWS_ENDPOINT": self.endpoint_url or _optional("ATDATA_PUBLISH_ENDPOINT") or reading.endpoint_url,
            "AWS_ACCESS_KEY_ID": _required(access_key, "ATDATA_PUBLISH_ACCESS_KEY_ID", what),
            "AWS_SECRET_ACCESS_KEY": _required(secret_key, "ATDATA_PUBLISH_SECRET_ACCESS_KEY", what),
            "AWS_SESSION_TOKEN": token,
            "AWS_REGION": reading.region,
        }
        public_url = self.public_url or _optional("ATDATA_PUBLISH_PUBLIC_URL")
        return S3DataStore(
            {name: value for name, value in credentials.items() if value}, bucket=bucket, public_url=public_url
        )


@lru_cache
def _redis(url: str, source: str) -> Any:
    from atdata_core.local.connection import from_url

    return from_url(url, source=source)


@lru_cache
def _logged_in(pds_url: str, handle: str, password: str) -> "AtmosphereClient":
    from atdata_core.atmosphere import AtmosphereClient

    client = AtmosphereClient(pds_url)
    client.login(handle, password)
    return client


@lru_cache
def _did(pds_url: str, handle: str) -> str:
    from atdata_core.atmosphere.identity import Resolver
    from atdata_core.atmosphere.session import Session

    return Resolver(Session(pds_url)).did_of(handle)


@lru_cache
def _s3_client(endpoint: S3Endpoint, max_attempts: int, use_ssl: bool, verify: bool | None) -> Any:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint.endpoint_url,
        aws_access_key_id=endpoint.access_key,
        aws_secret_access_key=endpoint.secret_key,
        aws_session_token=endpoint.session_token,
        region_name=endpoint.region or ("us-east-1" if endpoint.endpoint_url else None),
        use_ssl=use_ssl,
        verify=verify,
        config=Config(
            max_pool_connections=POOL,
            retries={"mode": "standard", "total_max_attempts": max_attempts},
            # Checksums beyond what a call needs break servers that do not know them.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if endpoint.endpoint_url else None,
            signature_version=UNSIGNED if endpoint.anonymous else None,
        ),
    )


def _profile_keys(profile: str) -> tuple[str, str, str | None]:
    import boto3

    from atdata_core.errors import CredentialsError

    credentials = boto3.session.Session(profile_name=profile).get_credentials()
    if credentials is None:
        raise CredentialsError(
            f"The AWS profile {profile!r} holds no keys. Give another profile, or keys.", source=profile
        )
    frozen = credentials.get_frozen_credentials()
    return frozen.access_key, frozen.secret_key, frozen.token
