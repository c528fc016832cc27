import numpy as np
import pytest
import torch

from foveal.backbones.encoder import Encoder
from foveal.backbones.registry import build_backbone
from foveal.errors import FovealError
from foveal.evaluation.episodes import draw_episodes
from foveal.evaluation.run import evaluate


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """All three protocols on pictures whose class is a colour: features beat raw pixels' shapes."""
    draw = np.random.default_rng(0)
    labels = np.arange(180) % 6
    colours = draw.uniform(0.2, 1, (6, 3))
    x = colours[labels][:, None, None] * draw.uniform(90, 200, (180, 1, 1, 1))
    x = (x + draw.normal(0, 25, (180, 20, 20, 3))).clip(0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(path, images=x, labels=labels)
    torch.manual_seed(0)
    encoder = Encoder([build_backbone("small", width=0.25)], [[]], channels=3, size=16)
    results = evaluate(encoder, path, protocols=["retrieval", "episodes", "clusters"])
    return {(r.protocol, r.metric): r for r in results}


def test_every_number_stands_beside_both_baselines(found):
    assert {m for p, m in found if p == "retrieval"} == {"recall@1", "recall@5", "recall@10"}
    assert {m for p, m in found if p == "episodes"} == {"5-way 1-shot", "5-way 5-shot"}
    assert {m for p, m in found if p == "clusters"} >= {"nmi_arithmetic", "nmi_geometric", "ami"}
    for r in found.values():
        assert set(r.baselines) == {"random_init", "pixels"}
        assert r.interval[0] <= r.value + 0.05 and r.value - 0.05 <= r.interval[1]


def test_what_must_hold_between_them(found):
    recall = [found["retrieval", f"recall@{k}"].value for k in (1, 5, 10)]
    assert recall == sorted(recall)
    one, five = (found["episodes", f"5-way {s}-shot"].value for s in (1, 5))
    assert 0.2 < one < five
    assert found["episodes", "5-way 1-shot"].n == 600
    # 36 test pictures, 6 a class: 5 examples leave one query.
    assert found["episodes", "5-way 5-shot"].configuration["queries_per_class"]["5-shot"] == 1


def test_episodes_hold_no_picture_twice_and_no_other_class():
    labels = np.repeat(np.arange(7), 20)
    drawn = draw_episodes(labels, 5, seed=3)
    assert drawn.shape == (600, 5, 20)
    for episode in drawn[:50]:
        assert len(np.unique(episode)) == 100
        assert all(len(np.unique(labels[rows])) == 1 for rows in episode)
        assert len(np.unique(labels[episode[:, 0]])) == 5
    assert np.array_equal(drawn, draw_episodes(labels, 5, seed=3))
    assert not np.array_equal(drawn, draw_episodes(labels, 5, seed=4))


def test_too_few_pictures_for_an_episode():
    with pytest.raises(FovealError, match="need 2"):
        draw_episodes(np.arange(5), 1, seed=0)
