"""One integer seed a node, split into named, independent generators. No global seed is ever set."""

from __future__ import annotations

import hashlib

import torch


def named_seed(seed: int, name: str) -> int:
    """A 63-bit seed for one purpose, independent of the order in which purposes are asked for."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def named_generator(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose (``order``, ``noise``, ``init``, ...)."""
    return torch.Generator(device).manual_seed(named_seed(seed, name))
