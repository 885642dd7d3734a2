"""The code of a registered model: MLflow runs this file and keeps no pickled object ("model from code").

A row holds the bytes of a scan's NIfTI files, one column a channel; the answer holds the mask's bytes and its
volume. Runs where this package is not installed, by the copy of our source that travels with the model.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

NETWORK = "network"
"""Name of the artifact that holds the export."""
_RUNTIME = "dwp_sweep_runtime.export.runtime"
_GZIP = b"\x1f\x8b"


class ServedNetwork(PythonModel):
    """A network behind MLflow's ``predict``."""

    def load_context(self, context: Any) -> None:
        """Read the network once."""
        self._exported = importlib.import_module(_RUNTIME).load_export(Path(context.artifacts[NETWORK]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Masks of scans.

        Args:
            context: Of MLflow; not read.
            model_input: One scan a row, one column a channel: the bytes of a ``.nii`` or ``.nii.gz`` file.
            params: None are known.

        Returns:
            ``mask``, the bytes of a ``.nii.gz`` file on the scan's own voxels, and ``volume_ml``.
        """
        rows = [self._segment([bytes(cell) for cell in row]) for row in model_input.itertuples(index=False)]
        return pd.DataFrame(rows, columns=["mask", "volume_ml"])

    def _segment(self, files: list[bytes]) -> tuple[bytes, float]:
        with tempfile.TemporaryDirectory() as place:
            paths = []
            for number, content in enumerate(files):
                ending = ".nii.gz" if content.startswith(_GZIP) else ".nii"
                paths.append(Path(place) / f"channel{number}{ending}")
                paths[-1].write_bytes(content)
            found = self._exported.segment(paths)
            mask = Path(place) / "mask.nii.gz"
            importlib.import_module(_RUNTIME).write_mask(mask, found)
            return mask.read_bytes(), float(found.volume_ml)


set_model(ServedNetwork())
