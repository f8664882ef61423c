"""The project's definitions, with a sensor that looks every few seconds: no measurement waits for half minutes."""

import dagster as dg
from dagster_shared.record import replace

from atdata_pipelines.components.dataset_promotion import promotion_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """As ``atdata_pipelines.definitions``, but for the pause between two ticks."""
    found = promotion_definitions()
    [patient] = found.sensors or ()
    assert isinstance(patient, dg.SensorDefinition)

    hasty = dg.SensorDefinition(
        patient.name,
        # A sensor cannot be called by another one, nor copied with another pause.
        evaluation_fn=patient._raw_fn,
        jobs=patient.jobs,
        minimum_interval_seconds=1,
        required_resource_keys=patient.required_resource_keys,
    )
    return replace(found, sensors=[hasty])
