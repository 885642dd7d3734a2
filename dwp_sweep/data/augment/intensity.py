"""Changes of one channel's intensities: contrast, gamma, gain, blur, resolution and noise, in this order.

It is the order in which a scanner makes them. What is background stays background: prepared scans have one
constant there, and a network would learn any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dwp_sweep.data.augment.draw import Tone
from dwp_sweep.data.augment.separable import along_axes, blur_matrix, coarse_matrix


def toned(image: Tensor, tone: Tone, spacing_mm: Sequence[float], background: float) -> Tensor:
    """One channel with its intensities changed.

    Args:
        image: (D, H, W) float32.
        tone: What to change.
        spacing_mm: Voxel size along D, H, W.
        background: Value of voxels that show no patient; they keep it.
    """
    patient = image != background
    if tone == Tone(noise_seed=tone.noise_seed) or not bool(patient.any()):
        return image
    result = image
    if tone.remap is not None:
        result = _on_curve(result, patient, tone.remap, tone.remap_share)
    if tone.gamma != 1:
        result = _with_gamma(result, patient, tone.gamma)
    if tone.gain != 1:
        mean = _moments(result, patient)[0]
        result = mean + (result - mean) * tone.gain
    result = torch.where(patient, result, background)
    if tone.blur:
        stds = [tone.blur * min(spacing_mm) / mm for mm in spacing_mm]
        matrices = [blur_matrix(n, std, image.device) for n, std in zip(image.shape, stds, strict=True)]
        result = along_axes(result, matrices)
    if tone.low_resolution < 1:
        # Thick slices are coarse already: an axis loses what makes its voxels as large as the new ones.
        shares = [tone.low_resolution * mm / min(spacing_mm) for mm in spacing_mm]
        coarse = [coarse_matrix(n, share, image.device) for n, share in zip(image.shape, shares, strict=True)]
        result = along_axes(result, coarse)
    if tone.noise:
        generator = torch.Generator(image.device).manual_seed(tone.noise_seed)
        noise = torch.randn(image.shape, generator=generator, device=image.device)
        result = torch.add(result, noise, alpha=tone.noise)
    return torch.where(patient, result, background)


def _moments(image: Tensor, patient: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the patient."""
    weight = patient.to(image.dtype)
    n = weight.sum()
    mean = (image * weight).sum() / n
    return mean, (((image - mean) * weight).square().sum() / n).sqrt()


def _restored(changed: Tensor, image: Tensor, patient: Tensor) -> Tensor:
    """The changed image with the patient's mean and deviation of the one before."""
    (mean, std), (new_mean, new_std) = _moments(image, patient), _moments(changed, patient)
    return mean + (changed - new_mean) * (std / new_std.clamp_min(1e-6))


def _shares(image: Tensor, patient: Tensor) -> Tensor:
    """Intensities of the patient as shares of their range, 0 to 1."""
    low = torch.where(patient, image, torch.inf).min()
    high = torch.where(patient, image, -torch.inf).max()
    return ((image - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)


def _with_gamma(image: Tensor, patient: Tensor, gamma: float) -> Tensor:
    return _restored(_shares(image, patient).pow(gamma), image, patient)


def _on_curve(image: Tensor, patient: Tensor, heights: Sequence[float], share: float) -> Tensor:
    """Intensities on straight lines between the knots of a curve, or as far towards it as the share says."""
    knots = torch.tensor(heights, dtype=image.dtype, device=image.device)
    place = _shares(image, patient) * (len(heights) - 1)
    left = place.floor().clamp(0, len(heights) - 2)
    index = left.long()
    on_curve = _restored(torch.lerp(knots[index], knots[index + 1], place - left), image, patient)
    return torch.lerp(image, on_curve, share)
