"""Components that a Dagster project can use by a few lines of YAML."""

from .dataset_promotion import DatasetPromotion

__all__ = ["DatasetPromotion", "dataset_promotion"]
