"""Networks to export: those of the tests of predictions."""

from tests.prediction.conftest import add_target, scan, storage, voxels  # noqa: F401
from tests.tracking.conftest import mlflow_folder, uri  # noqa: F401
