"""The parts of the PDS put together."""

from __future__ import annotations

from pathlib import Path

from atdata_pipelines.sandbox.pds.accounts import Accounts, SandboxAccount
from atdata_pipelines.sandbox.pds.database import Database
from atdata_pipelines.sandbox.pds.repositories.blob_store import Blobs
from atdata_pipelines.sandbox.pds.repositories.repo_signing import Keys
from atdata_pipelines.sandbox.pds.repositories.repository import Repositories
from atdata_pipelines.sandbox.pds.tokens import SessionTokens


class Pds:
    """What the routes work on. ``service_url`` is where this server is found, as DID documents say."""

    def __init__(self, folder: Path, service_url: str) -> None:
        self.database = Database(folder / "pds.sqlite")
        self.keys = Keys(self.database)
        self.accounts = Accounts(self.database, self.keys, service_url)
        self.tokens = SessionTokens(self.database)
        self.blobs = Blobs(self.database)
        self.repositories = Repositories(self.database, self.blobs, self.keys)
        # Folders of before have accounts without keys.
        for account in self.accounts.without_key():
            with self.database.transaction():
                self.keys.make(account.did)
                self.repositories.sign(account.did)

    def create_account(self, handle: str, password: str) -> SandboxAccount:
        """A new account with an empty repository."""
        with self.database.transaction():
            account = self.accounts.create(handle, password)
            self.repositories.create(account.did)
        return account
