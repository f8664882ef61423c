"""Every error that this library raises on purpose.

```text
AtdataError
├── EntryNotFoundError        KeyError
├── SchemaNotFoundError       KeyError
├── RecordNotFoundError       KeyError
├── ShardNotListedError       KeyError
├── RefusedError              ValueError
│   ├── NoDataUrlsError
│   ├── DatasetNameError
│   ├── LensNotFoundError
│   ├── MetadataError
│   ├── SchemaError
│   │   ├── SchemaConflictError
│   │   └── SchemaIncompatibleError
│   ├── SampleError
│   │   └── StrayFilesError
│   ├── StorageError
│   │   ├── NotPublicError
│   │   │   └── VisibilityError
│   │   ├── DestinationError
│   │   └── LocalFileError
│   ├── PullError
│   ├── LicenseError
│   ├── ShardError
│   │   ├── ShardCorruptError
│   │   ├── ShardMissingError
│   │   │       FileNotFoundError
│   │   ├── ShardForbiddenError
│   │   │       PermissionError
│   │   ├── ShardChangedError
│   │   └── ShardConflictError
│   ├── CredentialsError
│   ├── NetworkSettingsError
│   ├── PreflightError
│   ├── RecordChangedError
│   ├── RecordGoneError
│   ├── ProofError
│   ├── BlockedError
│   └── PrivateAddressError
├── NotLoggedInError          ValueError,
│                        PermissionError
├── LoginError           PermissionError
└── ServiceError         ConnectionError
    ├── ServiceUnavailableError
    ├── RateLimitedError
    └── ServiceRefusedError
```

Beside a name stands the built-in that it is, too, which holds for all below it. A refusal wrote nothing, and trying
again changes nothing. Each error keeps its facts as attributes, survives pickling, and says with ``transient``
whether trying again can help.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .secrets import masked, masked_data


class AtdataError(Exception):
    """The root. ``message`` is for people, ``facts`` for programs (also readable as attributes).

    Neither holds a secret: passwords, tokens, keys and signatures are masked.
    """

    transient: ClassVar[bool] = False
    """Whether the same call can succeed later without anybody mending anything."""

    def __init__(self, message: str, **facts: Any) -> None:
        self.message = masked(message)
        super().__init__(self.message)
        self.facts: dict[str, Any] = {name: masked_data(fact) for name, fact in facts.items()}

    def __getattr__(self, name: str) -> Any:
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __str__(self) -> str:
        # KeyError would show the repr of its argument.
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.facts)


def _rebuild(cls: type[AtdataError], message: str, facts: dict[str, Any]) -> AtdataError:
    return cls(message, **facts)


class EntryNotFoundError(AtdataError, KeyError):
    """No dataset of that name, CID or at-uri. Facts: ``ref``."""


class SchemaNotFoundError(AtdataError, KeyError):
    """No schema under that reference. Facts: ``ref``."""


class RecordNotFoundError(AtdataError, KeyError):
    """No record at that at-uri. Facts: ``uri``."""


class ShardNotListedError(AtdataError, KeyError):
    """A source does not list a shard of that name. Facts: ``url``."""


class RefusedError(AtdataError, ValueError):
    """The input cannot be used; nothing was written."""


class NoDataUrlsError(RefusedError):
    """An entry names no data. Facts: ``name``."""


class DatasetNameError(RefusedError):
    """A dataset name that cannot be published or be a partition key. Facts: ``name``."""


class LensNotFoundError(RefusedError):
    """No lens leads from one sample type to another. Facts: ``source``, ``view``."""


class MetadataError(RefusedError):
    """Metadata that cannot be kept or published. Facts: ``name``."""


class SchemaError(RefusedError):
    """A sample type or schema that cannot be described or rebuilt. Facts: ``type_name``, ``field``."""


class SchemaConflictError(SchemaError):
    """Same class and version with other fields. Facts: ``name``, ``version``, ``fields`` (that differ)."""


class SchemaIncompatibleError(SchemaError):
    """A version that breaks with the one before, where that was to be refused.

    Facts: ``type_name``, ``version``, ``previous``, ``problems``.
    """


class SampleError(RefusedError):
    """Bytes that are no sample of the expected type. Facts: ``type_name``, ``field``, ``url``, ``key``."""


class StrayFilesError(SampleError):
    """A shard with files that are no samples, where those cannot be kept or published.

    Facts: ``count`` (of those), ``suffixes`` (and how many there are of each); of one shard also ``url`` and
    ``first`` (the first one's name).
    """


class StorageError(RefusedError):
    """URLs that cannot be published or reached as things are configured. Facts: ``urls``."""


class NotPublicError(StorageError):
    """Shards that cannot be read anonymously, where that was asked for. Facts: ``urls``."""


class VisibilityError(NotPublicError):
    """Anonymous readers would lose what they can read, and nobody asked for that. Facts: ``urls``."""


class DestinationError(StorageError):
    """Published copies cannot be followed, and nobody says where shards go. Facts: ``name``, ``destination``."""


class LocalFileError(StorageError):
    """A file of this machine that neither this process nor its configuration names.

    Facts: ``urls``, ``name`` (of the dataset), ``path``.
    """


class ShardWarning(UserWarning):
    """A shard holds what no sample is made of."""


class StrayFilesWarning(ShardWarning):
    """Files beside samples are kept with a dataset, which cannot be promoted with them."""


class NotPublicWarning(UserWarning):
    """What is published cannot be read anonymously."""


class PullError(RefusedError):
    """Shards that did not come into a folder. Facts: ``folder``, ``failed`` (why, by URL)."""


class LicenseError(RefusedError):
    """No license, or none that SPDX knows, where one was asked for. Facts: ``license``."""


class ShardError(RefusedError):
    """Something is wrong with one shard. Facts: ``url``."""


class ShardCorruptError(ShardError):
    """A tar that is cut short or damaged. Facts: ``url``, ``offset``."""


class ShardMissingError(ShardError, FileNotFoundError):
    """No such object, file or bucket. Facts: ``url``."""


class ShardForbiddenError(ShardError, PermissionError):
    """The shard may not be looked at with what is configured. Facts: ``url``."""


class ShardChangedError(ShardError):
    """The bytes differ from the recorded claim. Facts: ``url``, ``expected``, ``found``."""


class ShardConflictError(ShardError):
    """Another object lies where a copy should go. Facts: ``url``, ``expected``, ``found``."""


class CredentialsError(RefusedError):
    """S3 credentials that are missing or unusable. Facts: ``source``."""


class NetworkSettingsError(RefusedError):
    """A proxy, or certificates, that the environment names and nobody can use. Facts: ``variable``."""


class PreflightError(RefusedError):
    """A record that the network would refuse. Facts: ``collection``, ``problems``."""


class RecordChangedError(RefusedError):
    """The record on the network was edited elsewhere. Facts: ``uri``, ``fields``."""


class RecordGoneError(RefusedError):
    """A record that was published from here is there no more. Facts: ``uri``."""


class ProofError(RefusedError):
    """A record that is not in the repository that its account signed, as far as its PDS can prove."""


class BlockedError(RefusedError):
    """A dataset is blocked until a person promotes it. Facts: ``name``, ``reason``."""


HeldError = BlockedError
"""Its name until November 2026, for those who catch it."""


class PrivateAddressError(RefusedError):
    """A record, or a redirect, points at a private address. Facts: ``url``, ``host``."""


class NotLoggedInError(AtdataError, PermissionError, ValueError):
    """A write without a login."""


class LoginError(AtdataError, PermissionError):
    """The PDS did not accept handle and password, or the session has ended. Facts: ``handle``, ``service``."""


class ServiceError(AtdataError, ConnectionError):
    """A service failed. Facts: ``service``, ``status`` (HTTP status or None)."""


class ServiceUnavailableError(ServiceError):
    """Down, slow or dropped: it may pass. Facts as above, ``retry_after`` (seconds or None) where it answered."""

    transient = True


class RateLimitedError(ServiceError):
    """Too many requests. Facts: ``service``, ``status``, ``retry_after`` (seconds or None)."""

    transient = True


class ServiceRefusedError(ServiceError):
    """The service refused this request and will again. Facts: ``service``, ``status``, ``error``."""
