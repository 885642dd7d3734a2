from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms.croppad.array import ResizeWithPadOrCrop

from dwp_sweep.data.placement import centred_start, cut

SIZES = st.tuples(*[st.integers(1, 9)] * 3)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, shape=SIZES)
def test_the_centred_box_is_that_of_monais_crop_or_pad(size, shape):
    values = np.arange(1, 1 + np.prod(size), dtype=np.float32).reshape(size)
    resize = ResizeWithPadOrCrop(shape, mode="constant", constant_values=-3.0)

    found = cut(values, centred_start(size, shape), shape, -3.0)

    np.testing.assert_array_equal(found, resize(torch.from_numpy(values)[None])[0].numpy())


@settings(max_examples=60, deadline=None)
@given(size=SIZES, shape=SIZES, start=st.tuples(*[st.integers(-12, 12)] * 3))
def test_cutting_back_gives_the_volume_where_the_box_was_and_the_fill_elsewhere(size, shape, start):
    values = np.arange(1, 1 + np.prod(size), dtype=np.int32).reshape(size)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"))
    first, end = np.reshape(start, (3, 1, 1, 1)), np.reshape(np.add(start, shape), (3, 1, 1, 1))
    inside = ((index >= first) & (index < end)).all(0)

    box = cut(values, start, shape, 0)
    back = cut(box, [-n for n in start], size, 0)

    assert box.shape == tuple(shape) and (box > 0).sum() == inside.sum()
    np.testing.assert_array_equal(back, np.where(inside, values, 0))


def test_channels_are_cut_alike():
    values = np.random.default_rng(0).normal(size=(2, 5, 6, 7))

    box = cut(values, (-1, 2, 0), (4, 4, 9), 0.5)

    assert box.shape == (2, 4, 4, 9)
    for channel in range(2):
        np.testing.assert_array_equal(box[channel], cut(values[channel], (-1, 2, 0), (4, 4, 9), 0.5))


def test_axes_that_do_not_match_are_refused():
    with pytest.raises(ValueError):
        cut(np.zeros((3, 3, 3)), (0, 0), (2, 2, 2), 0)
