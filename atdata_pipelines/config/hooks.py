"""What a team's own component may do differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from atdata_core.local import LocalDatasetEntry
    from atdata_core.promotion.stages.publish import PublishedRecord


class Hooks:
    """Methods that a subclass of the component overrides; as they are here, they change nothing."""

    def get_asset_spec(self, spec: dg.AssetSpec) -> dg.AssetSpec:
        """The spec of an asset: its key, owners, tags, kinds, metadata and the like.

        It is asked for the key alone, too, of specs that have little else: the key has to follow from ``spec.key``.

        Args:
            spec: As the pipeline makes it; the last part of its key is the name of the stage, ``verification``,
                ``index_entry`` or ``catalogue``. To ``copied_shards``, which is made of several steps, no deps can
                be added.
        """
        return spec

    def before_promotion(self, context: Any, entry: LocalDatasetEntry) -> None:
        """Called before anything of a dataset is looked at; what it raises keeps the dataset from being promoted.

        Args:
            context: Of the asset, or of the op that promotes many.
            entry: Of the index.
        """

    def after_promotion(self, context: Any, entry: LocalDatasetEntry, record: PublishedRecord) -> None:
        """Called when the record of a dataset was written, or found to be there: at least once for each of them.

        What it raises fails the run, or in a bulk the dataset; the record stays, and a retry calls it again.

        Args:
            context: As above.
            entry: Of the index.
            record: ``uri``, ``cid`` and ``change`` (``created``, ``updated``, ``unchanged``).
        """
