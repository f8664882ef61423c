"""Reading what is published: shards of a dataset, checked, into a folder."""

from __future__ import annotations

from atdata_core.reading.pull import Pulled, PulledShard, pull

__all__ = ["Pulled", "PulledShard", "pull"]
