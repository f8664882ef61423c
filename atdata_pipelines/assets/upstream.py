"""How datasets depend on the partitions of a team's own asset that makes them.

Where Dagster can map a dataset to partitions by itself (an asset without partitions, dynamic ones, a dimension of
datasets), it does. Else (days, fixed names, other dimensions) each dataset depends on all partitions. Which it is
has to be known when definitions are made, of an asset that is somebody else's.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import dagster as dg
from dagster.components.core.decl import ComponentDecl
from dagster.components.core.defs_module import ComponentLoc

from ..config.dagster_internals import infer_partition_mapping, partition_loading_context
from ..config.settings import Settings

_SEARCHING: ContextVar[frozenset[ComponentLoc]] = ContextVar("instances that search", default=frozenset())


def dependency_on(upstream: dg.AssetKey, settings: Settings) -> dg.AssetDep:
    """Of the first stage."""
    theirs = settings.upstream_partitions
    if theirs is None or _is_mapped(settings.partitions, theirs):
        return dg.AssetDep(upstream)
    return dg.AssetDep(upstream, partition_mapping=dg.AllPartitionMapping())


def partitions_found(upstream: dg.AssetKey, context: dg.ComponentLoadContext) -> dg.PartitionsDefinition | None:
    """Partitions of an asset in the folder of definitions; None where it has none, or stands elsewhere.

    Builds what stands beside the instance; Dagster keeps it, so that it is not built again.
    """
    with _searching(context.component_decl.loc) as left_out:
        # A team's component may build the instance, which is then met again in its own search.
        tree = context.component_tree.find_root_decl()
        for declared in _without(left_out, tree) if left_out else ():
            for asset in context.build_defs(declared.loc).assets or ():
                for spec in asset.specs if isinstance(asset, dg.AssetsDefinition) else [asset]:
                    if isinstance(spec, dg.AssetSpec) and spec.key == upstream:
                        return spec.partitions_def
    return None


def partitions_read(
    asset: dg.AssetsDefinition,
    upstream: dg.AssetKey,
    theirs: dg.PartitionsDefinition,
    dataset: str,
    instance: dg.DagsterInstance,
) -> Sequence[str] | None:
    """Partitions of an upstream that a dataset depends on; None: the one of its name, where there is one."""
    ours = asset.partitions_def
    mapping = infer_partition_mapping(asset.get_partition_mapping_for_dep(upstream), ours, theirs)
    # Of two dynamic definitions this would list all keys, to find one.
    if ours is None or isinstance(mapping, dg.IdentityPartitionMapping):
        return None
    with partition_loading_context(dynamic_partitions_store=instance):
        found = mapping.get_upstream_mapped_partitions_result_for_partitions(
            ours.subset_with_partition_keys([dataset]), ours, theirs
        )
        return list(found.partitions_subset.get_partition_keys())


def _is_mapped(ours: dg.PartitionsDefinition | None, theirs: dg.PartitionsDefinition) -> bool:
    """Whether Dagster maps partitions of ours to theirs by itself."""
    try:
        infer_partition_mapping(None, ours, theirs).validate_partition_mapping(theirs, ours)
    except dg.DagsterInvalidDefinitionError:
        return False
    return True


@contextmanager
def _searching(instance: ComponentLoc) -> Iterator[frozenset[ComponentLoc]]:
    """What a search leaves out: instances that search, too; empty where this one is among these already."""
    before = _SEARCHING.get()
    token = _SEARCHING.set(before | {instance})
    try:
        yield frozenset() if instance in before else before | {instance}
    finally:
        _SEARCHING.reset(token)


def _without(left_out: frozenset[ComponentLoc], declared: ComponentDecl) -> Iterator[ComponentDecl]:
    """The largest parts of a tree that have none of these in them."""
    if left_out.isdisjoint(place for place, _ in declared.iterate_loc_component_decl_pairs()):
        yield declared
    else:
        for child in declared.iterate_child_component_decls():
            yield from _without(left_out, child)
