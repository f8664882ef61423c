"""Redis, S3, the PDS and the place for copies, shared by all assets and set from the environment.

A field that is left alone is read from its variable when a run needs it, so nothing secret ever stands in
the configuration that Dagster shows, and definitions load where no variable is set. Another project can
set the fields in its own way (``dg.EnvVar``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg
from pydantic import Field

from atdata_core.errors import RefusedError

from . import environment
from .environment import optional, required
from .shard_s3 import ShardS3

if TYPE_CHECKING:
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.local import LocalIndex, S3DataStore
    from atdata_core.stores.data_store import DataStore
    from atdata_core.stores.s3.objects import S3Endpoint

R = TypeVar("R", bound=dg.ConfigurableResource)


def _outside_of_runs(resource: R, what: str) -> R:
    given = {name: getattr(resource, name) for name in type(resource).model_fields}
    for name, value in given.items():
        # Dagster's own way opens an instance for it, which takes longer than most commands.
        if isinstance(value, dg.EnvVar):
            given[name] = required(None, value.env_var_name, f"the {name} of {what}")
    return type(resource)(**given)


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
        return environment.index(self.url, silence=silence)


class ShardS3Resource(dg.ConfigurableResource):
    """S3 where the shards of local datasets lie.

    The fields have the names that they have in dagster-aws, whose own resource is taken as well (``of``). It is not
    needed: each release of it wants one release of Dagster, and would keep this package out of projects with any
    other. They hold for the stages as for ``get_client``. What is not given comes from ``ATDATA_S3_ENDPOINT`` and
    the usual ``AWS_*`` names. Whether TLS is used stands in the address; ``use_ssl: false`` beside another address
    than an http:// one is refused.
    """

    endpoint_url: str | None = Field(
        default=None, description="ATDATA_S3_ENDPOINT where it is not given, else Amazon's."
    )
    region_name: str | None = Field(default=None, description="AWS_REGION where it is not given.")
    profile_name: str | None = Field(default=None, description="Of the AWS configuration; it holds the keys.")
    aws_access_key_id: str | None = Field(
        default=None, description="AWS_ACCESS_KEY_ID where neither it nor a profile is given."
    )
    aws_secret_access_key: str | None = Field(default=None, description="Give dg.EnvVar: text would be shown.")
    aws_session_token: str | None = Field(default=None, description="Of keys that do not last.")
    use_unsigned_session: bool = Field(default=False, description="Whether to read without keys.")
    use_ssl: bool = Field(
        default=ShardS3.use_ssl, description="False is refused where the address is not an http:// one."
    )
    verify: bool | None = Field(default=None, description="Whether the service's certificate is checked.")
    max_attempts: int = Field(
        default=ShardS3.max_attempts, ge=1, description="How often a request is sent, the first time included."
    )

    @classmethod
    def of(cls, given: object) -> ShardS3Resource:
        """With the fields of a project's own resource, such as ``dagster_aws.s3.S3Resource``.

        Raises:
            RefusedError: It is another kind of resource.
        """
        if isinstance(given, cls):
            return given
        if not (isinstance(given, dg.ConfigurableResource) and {*cls.model_fields} <= {*type(given).model_fields}):
            raise RefusedError(
                f"{type(given).__name__} is no S3 resource. Give an S3Resource of dagster_aws.s3, or leave s3 out: "
                "then the environment says where shards lie."
            )
        return cls(**{name: getattr(given, name) for name in cls.model_fields})

    def outside_of_runs(self) -> ShardS3Resource:
        """With what its variables hold, which Dagster reads for a run; raises ``MissingVariableError``."""
        return _outside_of_runs(self, "the S3 where shards lie")

    def endpoint(self) -> S3Endpoint | None:
        """The service as the stages read it; None where neither address nor credentials are known.

        Raises:
            CredentialsError: The address is not that of an S3 service, or contradicts ``use_ssl``; the profile
                has no keys.
        """
        return self._plain().endpoint()

    def get_client(self) -> Any:
        """A boto3 client for S3, made once per process: the one that the stages use."""
        return self._plain().get_client()

    def _plain(self) -> ShardS3:
        return ShardS3(**{name: getattr(self, name) for name in ShardS3.__dataclass_fields__})


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
        password = required(self.app_password, "ATDATA_APP_PASSWORD", f"an app password of {handle}")
        return environment.logged_in(self._pds_url(), handle, password)

    def anonymous(self) -> AtmosphereClient:
        """A client of the same PDS that nobody is logged in with."""
        from atdata_core.atmosphere import AtmosphereClient

        return AtmosphereClient(self._pds_url())

    def did(self) -> str:
        """DID of the account, resolved without a login.

        Raises:
            MissingVariableError: The handle is not known.
            RecordNotFoundError: Nobody has that handle.
        """
        return environment.did_of(self._pds_url(), self._handle())

    def _handle(self) -> str:
        return environment.handle(self.handle)

    def _pds_url(self) -> str:
        return environment.pds_url(self.pds_url)


PDS = "pds"
"""The destination that is no bucket."""


class DestinationResource(dg.ConfigurableResource):
    """Where shards are copied to before they are published: a bucket, or the account itself, as blobs.

    Where nothing is given they stay where they are.
    """

    to: str | None = Field(
        default=None,
        description="pds: shards become blobs of the account. ATDATA_PUBLISH_TO where neither it nor a bucket is "
        "given.",
    )
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

    def outside_of_runs(self) -> DestinationResource:
        """With what its variables hold, which Dagster reads for a run; raises ``MissingVariableError``."""
        return _outside_of_runs(self, "the bucket that shards are copied to")

    def store(self, reading: S3Endpoint | None, account: AtprotoResource) -> DataStore | None:
        """The store that copies go to, or None.

        Args:
            reading: As for ``bucket_store``.
            account: The one that publishes.

        Raises:
            RefusedError: ``to``, or its variable, names no destination, or a bucket is named as well.
            MissingVariableError, CredentialsError: As ``bucket_store``.
        """
        to = self.to or (None if self.bucket else optional("ATDATA_PUBLISH_TO"))
        if to is None:
            return self.bucket_store(reading)
        if to != PDS:
            raise RefusedError(f"ATDATA_PUBLISH_TO is {to!r}. Give {PDS}, or name a bucket: ATDATA_PUBLISH_BUCKET.")
        if self.to is None and optional("ATDATA_PUBLISH_BUCKET"):
            raise RefusedError(
                "ATDATA_PUBLISH_TO says pds, and ATDATA_PUBLISH_BUCKET names a bucket: shards are copied to one of "
                "them. Leave out the other."
            )
        from .account_blobs import AccountBlobs

        return AccountBlobs(account.client, account.did)

    def bucket_store(self, reading: S3Endpoint | None) -> S3DataStore | None:
        """The bucket that copies go to, or None.

        Args:
            reading: The service that shards are read from; its address and keys serve where no other are set.

        Raises:
            MissingVariableError: A bucket is named, but not who may write there.
            CredentialsError: The address is not that of an S3 service.
        """
        from atdata_core.local import S3DataStore
        from atdata_core.stores.s3.clients import checked_endpoint
        from atdata_core.stores.s3.objects import S3Endpoint, checked_style

        bucket = self.bucket or optional("ATDATA_PUBLISH_BUCKET")
        if bucket is None:
            return None
        reading = reading or S3Endpoint()
        what = f"needed to write to the bucket {bucket}"
        access_key = self.access_key_id or optional("ATDATA_PUBLISH_ACCESS_KEY_ID")
        secret_key = self.secret_access_key or optional("ATDATA_PUBLISH_SECRET_ACCESS_KEY")
        token = None
        if not (access_key or secret_key):
            access_key, secret_key, token = reading.access_key, reading.secret_key, reading.session_token
        # Without any, the AWS configuration may lead to some.
        if access_key or secret_key or not reading.signs:
            access_key = required(access_key, "ATDATA_PUBLISH_ACCESS_KEY_ID", what)
            secret_key = required(secret_key, "ATDATA_PUBLISH_SECRET_ACCESS_KEY", what)
        address = reading.endpoint_url
        if self.endpoint_url:
            address = checked_endpoint(self.endpoint_url, "endpoint_url of the destination")
        elif published := optional("ATDATA_PUBLISH_ENDPOINT"):
            address = checked_endpoint(published, "ATDATA_PUBLISH_ENDPOINT")
        style = self.addressing_style or optional("ATDATA_PUBLISH_ADDRESSING_STYLE")
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
        public_url = self.public_url or optional("ATDATA_PUBLISH_PUBLIC_URL")
        return S3DataStore(endpoint, bucket=bucket, public_url=public_url)
