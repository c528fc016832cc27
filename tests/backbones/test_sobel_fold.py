import pytest
import torch
from torch.nn import functional as F

from foveal.backbones.encoder import Encoder
from foveal.backbones.inputs import Normalise, Sobel
from foveal.backbones.registry import build_backbone
from foveal.backbones.sobel_fold import folded_kernel, has_sobel, without_sobel
from foveal.errors import FovealError


def _encoder(layers, channels=2, name="small", pictures=3):
    torch.manual_seed(0)
    trunk = build_backbone(name, in_chans=channels, width=0.25)
    return Encoder([trunk], [layers], channels=pictures, size=32).eval()


def test_kernel_golden():
    weight = torch.zeros(1, 2, 3, 3)
    weight[0, 0, 1, 1], weight[0, 1, 0, 2] = 1, 2
    third = 1 / 3
    expected = torch.tensor([
        [0, 0, 2 * third, 4 * third, 2 * third], [0, third, 0, -third, 0],
        [0, 2 * third, -2 * third, -2, -2 * third], [0, third, 0, -third, 0], [0, 0, 0, 0, 0],
    ])  # fmt: skip
    kernel = folded_kernel(weight, Sobel().kernels)
    assert kernel.shape == (1, 3, 5, 5)
    assert torch.allclose(kernel, expected.expand(1, 3, 5, 5), atol=1e-6)


@pytest.mark.parametrize("side", [1, 3, 7])
def test_one_kernel_does_what_two_did(side):
    draw = torch.Generator().manual_seed(side)
    weight = torch.randn(4, 2, side, side, generator=draw, dtype=torch.float64)
    picture = torch.rand(1, 3, 17, 17, generator=draw, dtype=torch.float64)
    two = F.conv2d(Sobel(padding=0)(picture), weight)
    one = F.conv2d(picture, folded_kernel(weight, Sobel().kernels))
    assert torch.allclose(one, two, atol=1e-12)


def test_inside_the_picture_the_copy_computes_the_same():
    encoder = _encoder([Normalise([0.5] * 3, [0.25] * 3), Sobel()])
    state = torch.get_rng_state()
    folded = without_sobel(encoder)
    assert torch.equal(torch.get_rng_state(), state)
    assert has_sobel(encoder) and not has_sobel(folded)
    first = next(m for m in encoder.trunks[0].modules() if isinstance(m, torch.nn.Conv2d))
    assert first.in_channels == 2  # the encoder itself is as it was
    picture = torch.rand(2, 3, 32, 32)
    end = encoder.ends[0].name
    with torch.no_grad():
        before, after = (e(picture, [end])[end] for e in (encoder, folded))
    assert before.shape == after.shape
    inner = (..., slice(2, -2), slice(2, -2))
    assert torch.allclose(before[inner], after[inner], atol=1e-4)


@pytest.mark.parametrize(
    ("layers", "pictures"),
    [([Sobel(), Normalise([0.5] * 2, [0.25] * 2)], 3), ([Sobel()], 1)],
    ids=["not last", "grey pictures"],
)
def test_what_cannot_be_folded_is_refused(layers, pictures):
    with pytest.raises(FovealError, match="cannot become part") as error:
        without_sobel(_encoder(layers, pictures=pictures))
    assert "fold_sobel=false" in error.value.hint
