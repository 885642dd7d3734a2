"""Tiny folders of scans in every layout, one maker a layout; each scan has its own texture."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (20, 18, 16)
LABELS = (1, 2)


def write_scan(
    path: Path,
    seed: int,
    shape: tuple[int, ...] = SHAPE,
    spacing_mm: Sequence[float] = (1, 1, 1),
    air: float = 0.0,
) -> None:
    """A patient of bright texture in air; where there is a fourth axis each channel has its own."""
    voxels = np.full(shape, air, dtype=np.float32)
    inner = tuple(slice(2, n - 2) for n in shape[:3])
    voxels[inner] = np.random.default_rng(seed).uniform(20, 100, size=voxels[inner].shape)
    _save(voxels, path, spacing_mm)


def write_mask(
    path: Path,
    shape: tuple[int, ...] = SHAPE,
    spacing_mm: Sequence[float] = (1, 1, 1),
    labels: Sequence[int] = LABELS,
    shift: int = 0,
) -> None:
    """A box of each label in the patient; ``shift`` makes masks of patients differ."""
    voxels = np.zeros(shape[:3], dtype=np.uint8)
    for number, label in enumerate(labels):
        voxels[4 + number, 4 : 10 + shift % 3, 4 : 10 + shift // 3 % 3] = label
    _save(voxels, path, spacing_mm)


def _save(voxels: np.ndarray, path: Path, spacing_mm: Sequence[float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([*spacing_mm, 1.0])), path)


def msd(root: Path, n: int, first: int = 0, **look: object) -> Path:
    """Medical Segmentation Decathlon: one 3D image a case."""
    training = []
    for number in range(n):
        name = f"case_{number:02d}.nii.gz"
        write_scan(root / "imagesTr" / name, first + number, **look)  # type: ignore[arg-type]
        mask = {key: value for key, value in look.items() if key != "air"}
        write_mask(root / "labelsTr" / name, shift=number, **mask)  # type: ignore[arg-type]
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    labels = {"0": "background", "1": "oedema", "2": "core"}
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "training": training}))
    return root


def nnunet(root: Path, n: int, first: int = 0) -> Path:
    """nnU-Net's raw data: T1 and FLAIR, and a label that nobody annotated."""
    for number in range(n):
        for channel in range(2):
            write_scan(
                root / "imagesTr" / f"c_{number:02d}_{channel:04d}.nii.gz", first + 2 * number + channel
            )
        write_mask(root / "labelsTr" / f"c_{number:02d}.nii.gz", shift=number, labels=(1, 2, 3))
    (root / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "T1", "1": "FLAIR"},
                "labels": {"background": 0, "lesion": 1, "other": 2, "ignore": 3},
                "file_ending": ".nii.gz",
            }
        )
    )
    return root


def bids(root: Path, n: int, first: int = 0) -> Path:
    """BIDS: every subject with two sessions, masks under derivatives."""
    for number in range(n):
        for session in (1, 2):
            name = f"sub-{number:02d}_ses-{session}"
            folder = Path(f"sub-{number:02d}", f"ses-{session}", "anat")
            write_scan(root / folder / f"{name}_FLAIR.nii.gz", first + 2 * number + session)
            write_mask(root / "derivatives" / "m" / folder / f"{name}_label-lesion_mask.nii.gz", shift=number)
    return root


def ms(root: Path, n: int, first: int = 0) -> Path:
    """A folder a patient: FLAIR, T2 and mask."""
    for number in range(n):
        patient = root / f"patient{number:02d}"
        for channel, name in enumerate(("FLAIR", "T2")):
            write_scan(patient / f"{name}.nii.gz", first + 2 * number + channel)
        write_mask(patient / "mask.nii.gz", shift=number, labels=(1,))
    return root


def brats(root: Path, n: int, first: int = 0) -> Path:
    """BraTS since 2023: four modalities."""
    for number in range(n):
        name = f"BraTS-GLI-{number:05d}-000"
        for channel, modality in enumerate(("t1n", "t1c", "t2w", "t2f")):
            write_scan(root / name / f"{name}-{modality}.nii.gz", first + 4 * number + channel)
        write_mask(root / name / f"{name}-seg.nii.gz", shift=number, labels=(1, 2, 3))
    return root


def pairs(root: Path, n: int, first: int = 0) -> Path:
    """A table."""
    rows = ["image,mask,subject"]
    for number in range(n):
        write_scan(root / f"i{number}.nii.gz", first + number)
        write_mask(root / f"m{number}.nii.gz", shift=number)
        rows.append(f"i{number}.nii.gz,m{number}.nii.gz,s{number}")
    (root / "pairs.csv").write_text("\n".join(rows) + "\n")
    return root


TREES: dict[str, Callable[..., Path]] = {
    "msd": msd,
    "nnunet": nnunet,
    "bids": bids,
    "ms": ms,
    "brats": brats,
    "pairs": pairs,
}
