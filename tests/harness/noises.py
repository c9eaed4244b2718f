"""Sound in which nobody speaks: samples from -1 to 1 at 16 kHz."""

import numpy as np
import numpy.typing as npt

RATE = 16000
DURATION_S = 3


def time_s() -> npt.NDArray[np.float64]:
    """Of each sample."""
    return np.arange(DURATION_S * RATE) / RATE


def melody() -> npt.NDArray[np.float64]:
    """Six notes that fade away."""
    notes = 440 * 2 ** (np.array([0, 4, 7, 12, 7, 4])[(time_s() * 2).astype(int)] / 12)
    return np.asarray(0.2 * np.sin(2 * np.pi * notes * time_s()) * np.exp(-2 * (time_s() % 0.5)))
