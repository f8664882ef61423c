"""Blobs of the account that publishes, as the place that shards are copied to."""

from __future__ import annotations

from collections.abc import Callable

from atdata_core.atmosphere import AtmosphereClient, PDSBlobStore


class AccountBlobs(PDSBlobStore):
    """The blobs of an account, which is logged in where that is needed first."""

    def __init__(self, client: Callable[[], AtmosphereClient], did: Callable[[], str]) -> None:
        self._log_in = client
        self._find_did = did
        self._limit = None

    @property
    def client(self) -> AtmosphereClient:
        """The account's client, logged in."""
        return self._log_in()

    @property
    def did(self) -> str:
        """DID of the account, without a login."""
        return self._find_did()
