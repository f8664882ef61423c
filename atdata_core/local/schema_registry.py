"""Schemas in Redis, under the keys of both of upstream's layouts.

``LocalSchema:{module.Class}@{version}`` and ``LocalSchema:{Class}@{version}`` hold the same JSON, so that
either version's reader finds it. The long key is ours; the short one belongs to whoever came first.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import SchemaConflictError, SchemaError, SchemaNotFoundError
from ..samples.compatibility import compare, newest_with_fields
from ..samples.schema import SchemaRef, describe, from_field_list, full_name, parse_schema_ref, schema_ref
from ..state.redis_state import decoded, read
from .entry import SCANNED_SECONDS, SCHEMAS_SCANNED, schemas_key

PREFIX = "LocalSchema:"


def publish(redis: Any, record: dict[str, Any], *, describe: bool) -> str:
    """Keeps a schema record; its reference.

    The same fields once more change nothing but, with ``describe``, the description.

    Raises:
        SchemaConflictError: the same name and version is there with other fields; nothing was written.
    """
    long, short = _keys(record)

    def write(pipe: Any) -> None:
        known, shared = _read(pipe.get(long), long), _read(pipe.get(short), short)
        owner = None if shared is None else shared.get("module")
        # A short key without a module may serve other modules' references too: it stays as it is.
        keys = [long, short] if shared is None or owner == record["module"] else [long]
        if owner not in (None, record["module"]):
            shared = None
        standing = [each for each in (known, shared) if each is not None]
        for each in standing:
            _refuse_conflict(each, record)
        first: Mapping[str, Any] = standing[0] if standing else record
        kept = {**record, "createdAt": first.get("createdAt") or record["createdAt"]}
        if standing and not describe:
            kept["description"] = first.get("description")
        pipe.multi()
        for key in keys:
            pipe.set(key, _written(kept))
        if known is None:
            pipe.append(schemas_key(full_name(record)), f"{record['version']}\n")

    # Watches both keys, and starts over where somebody else wrote one of them meanwhile.
    redis.transaction(write, long, short)
    return schema_ref(record)


def get(redis: Any, ref: str) -> dict[str, Any]:
    """The schema record of a reference, in any form.

    Raises:
        SchemaNotFoundError: there is none.
        SchemaError: the reference or the record is not what it should be.
    """
    wanted = parse_schema_ref(ref)
    found = _found(wanted, *redis.mget(*_keys(wanted._asdict())))
    if found is None:
        raise SchemaNotFoundError(_missing(wanted, ref), ref=ref)
    return found


def reference_for(redis: Any, sample_type: type) -> str:
    """The reference of the newest schema of a class whose fields are those of the sample type.

    It is version 1.0.0, which may be published later, where the index has no schema of that class. The versions
    of a class are known beside the index; all keys are looked at only where none of them fits, to find what
    other programs wrote, and for a class without any once in ten seconds.

    Raises:
        SchemaConflictError: The index has schemas of that class, all with other fields.
    """
    wanted = describe(sample_type)
    scanned = read(redis, [("exists", SCHEMAS_SCANNED), *_versions_asked(wanted)])
    where = "The index has"
    try:
        found = newest_with_fields(wanted, _of_class(redis, wanted, scanned[1:]), where=where)
    except SchemaConflictError:
        found, scanned = None, [0]
    if found is None and not scanned[0]:
        _note_versions(redis)
        of_all = _of_class(redis, wanted, read(redis, _versions_asked(wanted)))
        found = newest_with_fields(wanted, of_all, where=where)
    return schema_ref({**wanted, "version": found["version"]} if found else wanted)


def _versions_asked(wanted: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [("get", schemas_key(full_name(wanted))), ("get", schemas_key(wanted["name"]))]


def _of_class(redis: Any, wanted: Mapping[str, Any], noted: Sequence[bytes | None]) -> list[dict[str, Any]]:
    """The schemas of a class among some versions, each under the version of its key; a damaged one is left out."""
    versions = {"1.0.0", *(version for value in noted for version in decoded(value).split())}
    refs = [SchemaRef(wanted.get("module"), wanted["name"], version) for version in sorted(versions)]
    values = iter(redis.mget([key for ref in refs for key in _keys(ref._asdict())]))
    there: list[dict[str, Any]] = []
    for ref in refs:
        try:
            found = _found(ref, next(values), next(values))
        except SchemaError as error:
            _left_out(str(error))
        else:
            there += [] if found is None else [{**found, "version": ref.version}]
    return there


def _found(wanted: SchemaRef, of_long: bytes | None, of_short: bytes | None) -> dict[str, Any] | None:
    """The record of a reference, from what its two keys hold."""
    long, short = _keys(wanted._asdict())
    found = _read(of_long, long)
    if found is None:
        found = _read(of_short, short)
        # Other programs do not say whose class it is.
        if found is not None and wanted.module is not None and found.get("module") not in (None, wanted.module):
            found = None
    return found


def _note_versions(redis: Any) -> None:
    """Looks at the keys of all schemas, and notes the versions that nobody noted."""
    there: dict[str, set[str]] = {}
    for key in redis.scan_iter(match=PREFIX + "*", count=1000):
        named, _, version = key.decode(errors="replace").removeprefix(PREFIX).rpartition("@")
        there.setdefault(named, set()).add(version)
    noted = read(redis, [("get", schemas_key(named)) for named in there])
    missing = {
        named: sorted(versions - set(decoded(value).split()))
        for (named, versions), value in zip(there.items(), noted, strict=True)
    }
    notes = [
        ("append", schemas_key(named), "".join(f"{version}\n" for version in versions))
        for named, versions in missing.items()
        if versions
    ]
    read(redis, [*notes, ("set", SCHEMAS_SCANNED, 1, SCANNED_SECONDS)])


def listing(redis: Any) -> list[dict[str, Any]]:
    """All schema records, each once, by name and version; a damaged one is left out with a warning."""
    found = {*redis.scan_iter(match=PREFIX + "*", count=1000)}
    keys = sorted(text for key in found if (text := decoded(key)))
    for key in found:
        if not decoded(key):
            _left_out(f"{key.decode(errors='backslashreplace')} in Redis is no name of a schema. Delete the key.")
    # Of two keys a node of a cluster says that it has not all.
    values: list[bytes | None] = redis.mget([*keys, PREFIX, f"{PREFIX}@"])[: len(keys)]
    records: dict[str, dict[str, Any]] = {}
    without_module: list[dict[str, Any]] = []
    for key, value in zip(keys, values, strict=True):
        try:
            record = _read(value, key)
        except SchemaError as error:
            _left_out(str(error))
            continue
        if record is None:
            continue
        if record.get("module") is None:
            without_module.append(record)
        else:
            records[schema_ref(record)] = record
    for record in without_module:
        twins = (
            each
            for each in records.values()
            if (each["name"], each["version"]) == (record["name"], record["version"])
        )
        if not any(compare(each, record) == [] for each in twins):
            records[schema_ref(record)] = record
    return sorted(records.values(), key=lambda record: (record["name"], record["version"], full_name(record)))


def _left_out(why: str) -> None:
    warnings.warn(f"A schema is left out: {why}", stacklevel=5)


def _refuse_conflict(standing: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    differing = compare(standing, record)
    if differing:
        raise SchemaConflictError(
            f"The index already has {full_name(record)} in version {record['version']} with other fields: "
            f"{', '.join(differing)} differ. Publish the changed class under a new version: "
            f"publish_schema({record['name']}, version=...).",
            name=full_name(record),
            version=record["version"],
            fields=differing,
        )


def _keys(record: Mapping[str, Any]) -> tuple[str, str]:
    version = record["version"]
    return f"{PREFIX}{full_name(record)}@{version}", f"{PREFIX}{record['name']}@{version}"


def _written(record: Mapping[str, Any]) -> str:
    """The JSON of a record.

    Upstream rebuilds no class where an optional field comes before a required one, so required fields
    stand first there, and the class's own order beside them.
    """
    fields: list[dict[str, Any]] = record["fields"]
    required_first = sorted(fields, key=lambda field: bool(field["optional"]))
    if required_first == fields:
        return json.dumps(record)
    order = [field["name"] for field in fields]
    return json.dumps({**record, "fields": required_first, "order": order})


def _read(value: bytes | None, key: str) -> dict[str, Any] | None:
    """A record of Redis; an older key names the module that its record does not."""
    if value is None:
        return None
    named, _, version = key.removeprefix(PREFIX).rpartition("@")
    module, _, name = named.rpartition(".")
    try:
        data = json.loads(value)
        place = {field: number for number, field in enumerate(data.get("order") or ())}
        return from_field_list(
            sorted(data["fields"], key=lambda field: place.get(field["name"], 0)),
            name=data.get("name") or name,
            version=data.get("version") or version,
            description=data.get("description"),
            created_at=data.get("createdAt"),
            module=data.get("module") or module or None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(
            f"{key} in Redis is no schema record ({type(error).__name__}). Publish the schema again.",
            ref=key,
        ) from None


def _missing(wanted: SchemaRef, ref: str) -> str:
    return (
        f"The index has no schema {ref}. Publish it first: "
        f"index.publish_schema({wanted.name}, version={wanted.version!r})."
    )
