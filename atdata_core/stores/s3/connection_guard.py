"""No connection of an S3 client to a private address because a record says so, or a name that it gives."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false, reportAttributeAccessIssue=false, reportUnknownArgumentType=false
# botocore comes without types.

from __future__ import annotations

from functools import cache
from typing import Any

from ..private_addresses import check_public


def guard(client: Any) -> None:
    """Let a boto3 client connect only where ``check_public`` allows, to the very address that was checked."""
    client._endpoint.http_session._manager.pool_classes_by_scheme = _guarded_pools()


@cache
def _guarded_pools() -> dict[str, type]:
    from botocore import awsrequest

    def guarded(scheme: str, connection: Any, pool: Any) -> type:
        def connect(self: Any) -> Any:
            name = self._dns_host
            host = f"[{name}]" if ":" in name else name
            # Only the connection is made to the address: certificate and Host header go on naming the host.
            self._dns_host = check_public(f"{scheme}://{host}:{self.port}") or name
            try:
                return connection._new_conn(self)
            finally:
                self._dns_host = name

        made = type(f"Guarded{connection.__name__}", (connection,), {"_new_conn": connect})
        return type(f"Guarded{pool.__name__}", (pool,), {"ConnectionCls": made})

    return {
        "http": guarded("http", awsrequest.AWSHTTPConnection, awsrequest.AWSHTTPConnectionPool),
        "https": guarded("https", awsrequest.AWSHTTPSConnection, awsrequest.AWSHTTPSConnectionPool),
    }
