"""How datasets depend on the partitions of a team's own asset that makes them.

A dataset depends on the partition of its name, or on those that have it as a dimension. Of an asset without
partitions, or of days, fixed names and other dimensions, it depends on all that there is. Which it is has to be
known when definitions are made, of an asset that is somebody else's.
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dagster as dg

from ..config.settings import Settings

_SEARCHING: ContextVar[frozenset[Hashable]] = ContextVar("instances that search", default=frozenset())


def dependency_on(upstream: dg.AssetKey, settings: Settings) -> dg.AssetDep:
    """Of the first stage."""
    theirs = settings.upstream_partitions
    if (
        theirs is None
        or isinstance(theirs, dg.DynamicPartitionsDefinition)
        or _dimension_of_datasets(theirs, settings) is not None
    ):
        # Dagster maps these by itself.
        return dg.AssetDep(upstream)
    return dg.AssetDep(upstream, partition_mapping=dg.AllPartitionMapping())


def partitions_read(settings: Settings, dataset: str, instance: dg.DagsterInstance) -> Sequence[str] | None:
    """Partitions of the upstream that a dataset depends on; None: the one of its name, where there is one."""
    theirs = settings.upstream_partitions
    if theirs is None or isinstance(theirs, dg.DynamicPartitionsDefinition):
        return None
    dimension = _dimension_of_datasets(theirs, settings)
    if dimension is None or not isinstance(theirs, dg.MultiPartitionsDefinition):
        return theirs.get_partition_keys(dynamic_partitions_store=instance)
    [other] = [each for each in theirs.partitions_defs if each.name != dimension.name]
    others = other.partitions_def.get_partition_keys(dynamic_partitions_store=instance)
    return [dg.MultiPartitionKey({dimension.name: dataset, other.name: key}) for key in others]


def _dimension_of_datasets(theirs: dg.PartitionsDefinition, settings: Settings) -> Any:
    """The one dimension of an upstream that is the datasets of an instance; None where there is none."""
    if not isinstance(theirs, dg.MultiPartitionsDefinition):
        return None
    same = [each for each in theirs.partitions_defs if each.partitions_def == settings.partitions]
    return same[0] if len(same) == 1 else None


def partitions_found(upstream: dg.AssetKey, context: dg.ComponentLoadContext) -> dg.PartitionsDefinition | None:
    """Partitions of an asset in the folder of definitions; None where it has none, or stands elsewhere.

    Builds what stands beside the instance; Dagster keeps it, so that it is not built again.
    """
    with _searching(place_of(context.component_decl)) as left_out:
        # A team's component may build the instance, which is then met again in its own search.
        tree = context.component_tree
        for declared in _without(left_out, tree.find_root_decl()) if left_out else ():
            for asset in tree.build_defs_at_path(place_of(declared)).assets or ():
                for spec in asset.specs if isinstance(asset, dg.AssetsDefinition) else [asset]:
                    if isinstance(spec, dg.AssetSpec) and spec.key == upstream:
                        return spec.partitions_def
    return None


def place_of(declared: Any) -> Any:
    """Where a component is declared: Dagster 1.13 calls it ``loc``, earlier ones ``path``."""
    return declared.loc if hasattr(declared, "loc") else declared.path


def declarations(declared: Any) -> Iterator[Any]:
    """A part of a tree of components, and all parts in it."""
    yield declared
    for child in declared.iterate_child_component_decls():
        yield from declarations(child)


@contextmanager
def _searching(instance: Hashable) -> Iterator[frozenset[Hashable]]:
    """What a search leaves out: instances that search, too; empty where this one is among these already."""
    before = _SEARCHING.get()
    token = _SEARCHING.set(before | {instance})
    try:
        yield frozenset() if instance in before else before | {instance}
    finally:
        _SEARCHING.reset(token)


def _without(left_out: frozenset[Hashable], declared: Any) -> Iterator[Any]:
    """The largest parts of a tree that have none of these in them."""
    if left_out.isdisjoint(place_of(each) for each in declarations(declared)):
        yield declared
    else:
        for child in declared.iterate_child_component_decls():
            yield from _without(left_out, child)
