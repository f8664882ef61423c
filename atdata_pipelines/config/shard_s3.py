"""The S3 service where shards lie, as fields and environment name it. Needs no Dagster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from atdata_core.errors import CredentialsError

from .environment import optional

if TYPE_CHECKING:
    from atdata_core.stores.s3.objects import S3Endpoint


@dataclass(frozen=True)
class ShardS3:
    """What ``ShardS3Resource`` is configured with, by the same names."""

    endpoint_url: str | None = None
    region_name: str | None = None
    profile_name: str | None = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    aws_session_token: str | None = None
    use_unsigned_session: bool = False
    use_ssl: bool = True
    verify: bool | None = None
    max_attempts: int = 4

    def endpoint(self) -> S3Endpoint | None:
        """The service as the stages read it; None where neither address nor credentials are known.

        Raises:
            CredentialsError: The address is not that of an S3 service, or contradicts ``use_ssl``; the profile
                has no keys.
        """
        from atdata_core.stores.s3.clients import checked_endpoint
        from atdata_core.stores.s3.objects import S3Endpoint

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
        from atdata_core.stores.s3.objects import S3Endpoint

        return (self.endpoint() or self._as_configured(S3Endpoint())).client

    def _as_configured(self, endpoint: S3Endpoint) -> S3Endpoint:
        if not self.use_ssl and not (endpoint.endpoint_url or "").startswith("http://"):
            raise CredentialsError(
                f"The S3 resource says use_ssl: false, but {endpoint.name} is reached through TLS. Give an "
                "endpoint_url that begins with http://, or leave use_ssl out.",
                source="use_ssl",
            )
        region = self.region_name or endpoint.region or optional("AWS_REGION") or optional("AWS_DEFAULT_REGION")
        return replace(endpoint.configured(), region=region, attempts=self.max_attempts, verify=self.verify)


def _of_profile(profile: str, address: str | None) -> S3Endpoint:
    from atdata_core.stores.s3.objects import S3Endpoint

    # By name: keys of a role last an hour, and boto3 renews them.
    found = S3Endpoint.from_credentials({"AWS_PROFILE": profile, "AWS_ENDPOINT": address})
    if not found.signs:
        raise CredentialsError(
            f"The AWS profile {profile!r} holds no keys. Give another profile, or keys.", source=profile
        )
    return found
