"""The type of the samples that are promoted."""

import numpy as np
from numpy.typing import NDArray

import atdata_core as atdata


@atdata.packable
class Reading:
    """What an instrument said."""

    values: NDArray[np.float32]
    number: int
