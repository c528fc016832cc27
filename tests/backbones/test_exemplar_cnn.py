"""The networks of Exemplar-CNN: parameter counts, and larger pictures."""

import pytest
import torch

from foveal.backbones.registry import build_backbone


@pytest.mark.parametrize(
    ("name", "unpadded", "padded", "dim"),
    [
        ("small", 312_256, 631_744, 128),
        ("medium", 1_160_832, 9_418_368, 512),
        ("large", 4_398_672, 37_428_816, 1024),
    ],
)
def test_parameters(name, unpadded, padded, dim):
    for count, extra in ((unpadded, {}), (padded, {"padded": True})):
        backbone = build_backbone(f"exemplar_{name}", **extra)
        assert sum(p.numel() for p in backbone.parameters()) == count
        with torch.no_grad():
            found = backbone(torch.rand(2, 3, 32, 32), ends=("fc",))
        assert found["fc"].shape == (2, dim, 1, 1)
        assert torch.equal(found["pooled"], found["fc"][:, :, 0, 0])


def test_matching_net_takes_patches_of_64():
    backbone = build_backbone("exemplar_matching").eval()
    assert backbone(torch.rand(1, 3, 64, 64), ends=("fc",))["fc"].shape == (1, 512, 1, 1)


def test_a_larger_picture_is_seen_as_patches():
    """What is pooled is the best of all patches; the map's cells are the patches' vectors."""
    backbone = build_backbone("exemplar_medium").eval()
    picture = torch.rand(1, 3, 40, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = backbone(picture, ends=("fc",))
        patches = [backbone(picture[:, :, y : y + 32])["pooled"] for y in (0, 4, 8)]
    assert whole["fc"].shape == (1, 512, 3, 1)
    for y, patch in enumerate(patches):
        assert torch.allclose(whole["fc"][:, :, y, 0], patch, atol=1e-5)
    assert torch.allclose(whole["pooled"], torch.stack(patches).amax(0), atol=1e-5)
