"""The pipeline as one component."""

import dagster as dg

from ..pipeline import promotion_definitions


class DatasetPromotion(dg.Component, dg.Model, dg.Resolvable):
    """Promotes local datasets to the atmosphere: four assets, a job, a sensor and a schedule.

    Services and account come from the environment; see ``.env.example``.
    """

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """What tools list of this component."""
        return dg.ComponentTypeSpec(
            description="Promotes local WebDataset datasets to the AT Protocol network.",
            produces=["asset", "job", "sensor", "schedule", "resource"],
        )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """All definitions of the pipeline."""
        return promotion_definitions()
