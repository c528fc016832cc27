"""Vision transformers' tokens and sizes, and what timm itself can build."""

import pytest
import timm
import torch

from foveal.backbones.registry import build_backbone
from foveal.backbones.timm_bridge import timm_spec
from foveal.errors import FovealError


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return build_backbone("vit_tiny", img_size=64, depth=3).eval()


@torch.no_grad()
def test_tokens_are_the_forward_pass(vit):
    x = torch.rand(2, 3, 64, 96)
    plain = vit.body.net.forward_features(x)
    assert plain.shape == (2, 1 + 4 * 6, 192)
    assert torch.equal(vit.tokens(x), plain)
    everything = torch.arange(24).expand(2, -1)
    torch.testing.assert_close(vit.tokens(x, keep=everything), plain)
    nothing = torch.zeros(2, 24, dtype=torch.bool)
    torch.testing.assert_close(vit.tokens(x, mask=nothing, mask_token=torch.ones(192)), plain)


@torch.no_grad()
def test_kept_patches_are_all_the_network_sees(vit):
    x = torch.rand(2, 3, 64, 64)
    keep = torch.tensor([[5, 0, 10], [1, 2, 3]])
    z = vit.tokens(x, keep=keep)
    assert z.shape == (2, 4, 192)
    other = x.clone()
    other[0, :, 48:, :] = 0  # Patches 12 to 15 of the first picture, which were dropped.
    torch.testing.assert_close(vit.tokens(other, keep=keep), z)
    other[0, :, :16, :16] = 0  # Patch 0, which was kept.
    assert not torch.allclose(vit.tokens(other, keep=keep), z)
    # Another order of the same patches is the same set of tokens.
    back = vit.tokens(x, keep=keep.flip(1))
    torch.testing.assert_close(back[:, 1:].flip(1), z[:, 1:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_masked_patches_are_replaced(vit):
    x = torch.rand(2, 3, 64, 64)
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[0, [0, 1]] = True
    token = torch.randn(192)
    z = vit.tokens(x, mask=mask, mask_token=token)
    other = x.clone()
    other[0, :, :16, :32] = 0  # Patches 0 and 1.
    torch.testing.assert_close(vit.tokens(other, mask=mask, mask_token=token), z)
    plain = vit.tokens(x)
    assert not torch.allclose(z[0], plain[0])
    torch.testing.assert_close(z[1], plain[1])
    with pytest.raises(FovealError, match="without the token"):
        vit.tokens(x, mask=mask)


def test_the_mask_token_gets_a_gradient(vit):
    token = torch.zeros(192, requires_grad=True)
    mask = torch.ones(1, 16, dtype=torch.bool)
    vit.tokens(torch.rand(1, 3, 64, 64), mask=mask, mask_token=token).square().sum().backward()
    assert token.grad.abs().sum() > 0


def test_any_size_the_patch_divides(vit):
    names = [end.name for end in vit.ends]
    assert names == ["block0", "block1", "block2"]
    out = vit(torch.rand(1, 3, 32, 80), ["block2"])
    assert out["block2"].shape == (1, 192, 2, 5)
    with pytest.raises(FovealError, match="16x16 patches"):
        vit(torch.rand(1, 3, 40, 40))
    with pytest.raises(FovealError, match="16x16 patches"):
        vit.tokens(torch.rand(1, 3, 40, 40))
    with pytest.raises(FovealError, match="no tokens"):
        build_backbone("small").tokens(torch.rand(1, 3, 40, 40))


def test_pooled_is_timms_own():
    torch.manual_seed(0)
    backbone = build_backbone("mobilenetv3_small").eval()
    net = timm.create_model("mobilenetv3_small_100", num_classes=0).eval()
    net.load_state_dict(backbone.body.net.state_dict())
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(net(x), backbone(x)["pooled"])


@pytest.mark.parametrize(
    ("name", "arguments", "unmodified"),
    [
        ("resnet18", {}, True),
        ("resnet18", {"stem": "image", "norm": "group", "output_stride": 16}, True),
        ("resnet18", {"stem": "small"}, False),
        ("resnet18", {"width": 0.5}, False),
        ("resnetv2_50", {"last_relu": False}, False),
        ("vit_tiny", {"stem": "patch", "patch_size": 8, "img_size": 64}, True),
        ("small", {}, False),
    ],
)
def test_timm_builds_what_is_unmodified(name, arguments, unmodified):
    backbone = build_backbone(name, in_chans=1, **arguments)
    found = timm_spec(backbone.spec)
    assert (found is not None) == unmodified
    if found is not None:
        net = timm.create_model(found[0], **found[1])
        ours = {n: v.shape for n, v in backbone.body.net.state_dict().items()}
        assert {n: v.shape for n, v in net.state_dict().items()} == ours
