"""Which results changed when networks began to pad windowed scans with their background instead of zeros.

Scans scaled to mean 0 have 0 as their background, so all of theirs stayed as they were, and so did their
nodes' keys. Read by the code versions of the source and the target stage alone.
"""

from __future__ import annotations

from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.data.preprocess import padding_value
from dwp_sweep.nets.unet3d import padded_size


def padding_revision(dataset: DatasetConfig | None, patch: PatchConfig) -> int:
    """1 where a network pads, and not with zeros; else 0.

    Args:
        dataset: None where nothing is trained.
        patch: Of the training, and the windows of predictions.
    """
    if dataset is None or padding_value(dataset.preprocess) == 0:
        return 0
    shape = patch.shape or dataset.preprocess.shape
    return int(shape is None or padded_size(shape) != shape)
