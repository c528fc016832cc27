"""Input layers: the same numbers whatever the layout of memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.backbones.inputs import Normalise
from foveal.core.batch import as_images


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([1, 3, 5]), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
def test_normalising_does_not_depend_on_the_layout(channels, n, height, width):
    pixels = torch.randint(0, 256, (n, height, width, channels), dtype=torch.uint8)
    layer = Normalise([0.1 * (c + 1) for c in range(channels)], [0.2 + c for c in range(channels)])
    images = as_images(pixels)
    found, expected = layer(images), layer(images.contiguous())
    assert torch.equal(found, expected) and found.shape == (n, channels, height, width)
    assert torch.equal(expected, (images - layer.mean) / layer.std)
    assert found.movedim(1, -1).is_contiguous()


def test_one_number_is_for_all_channels_and_gradients_pass():
    images = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last).requires_grad_()
    out = Normalise([0.5], [0.25])(images)
    assert torch.equal(out, (images - 0.5) / 0.25)
    out.sum().backward()
    assert images.grad is not None and images.grad.unique().tolist() == pytest.approx([4.0])
