import numpy as np
import pytest
import torch
from torch.nn import functional as F

from foveal.evaluation.mlp import Perceptron, mlp, mlp_rotnet, scores_of, train
from foveal.evaluation.probe import Problem
from foveal.evaluation.tencrop import CROPS, on_crops
from foveal.metrics.accuracy import topk_accuracy


def test_golden_number_of_parameters():
    """RotNet's probe of its second block on CIFAR-10: 192 x 8 x 8 features, 2,500,410."""
    net = Perceptron("rotnet", 192 * 8 * 8, 10, seed=0)
    assert sum(p.numel() for p in net.parameters()) == 2_500_410
    kolesnikov = Perceptron("kolesnikov", 2048, 10, seed=0)
    assert sum(p.numel() for p in kolesnikov.parameters()) == 2049 * 1000 + 1001 * 10


def _exclusive_or(n, seed):
    """Two classes no plane divides, in four noisy dimensions."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 4))
    return torch.from_numpy(x).float(), torch.from_numpy((x[:, 0] * x[:, 1] > 0).astype(np.int64))


@pytest.mark.parametrize("probe", [mlp, mlp_rotnet])
def test_finds_what_no_plane_divides_and_repeats_itself(probe):
    x, y = _exclusive_or(900, 0)
    problem = Problem(x[:600], y[:600], x[600:], 2)
    scores, about = probe(problem)
    assert topk_accuracy(scores, y[600:]) > 0.8
    assert about["lr"] in about["lr_grid"] and "held out" in about["chosen_on"]
    again, _ = probe(Problem(x[:600], y[:600], -x[600:], 2))
    assert again.shape == scores.shape  # the choice sees no test picture
    torch.testing.assert_close(probe(problem)[0], scores)


def test_dropout_is_drawn_by_sample_and_epoch_not_by_torch():
    x, y = _exclusive_or(200, 1)
    runs = []
    for state in (0, 1):
        torch.manual_seed(state)
        net = train("kolesnikov", x, y, classes=2, lr=0.01, seed=3, epochs=2)
        runs.append(scores_of(net, x))
    torch.testing.assert_close(runs[0], runs[1], rtol=0, atol=0)
    other = train("kolesnikov", x, y, classes=2, lr=0.01, seed=4, epochs=2)
    assert not torch.equal(scores_of(other, x), runs[0])


def test_ten_crops_average_softmax_or_logits():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(90, 3, generator=draw)
    y = (x[:, 0] > 0).long()
    crops = torch.randn(7, CROPS * 3, generator=draw)
    problem = Problem(x, y, crops, 2)
    each, _ = on_crops(Problem(x, y, crops[:, :3].repeat(1, CROPS), 2), average="logits")
    logits = torch.stack(
        [
            on_crops(
                Problem(x, y, crops[:, 3 * c : 3 * c + 3].repeat(1, CROPS), 2), average="logits"
            )[0]
            for c in range(CROPS)
        ]
    )
    torch.testing.assert_close(each, logits[0])
    torch.testing.assert_close(on_crops(problem, average="logits")[0], logits.mean(0))
    torch.testing.assert_close(
        on_crops(problem, average="softmax")[0], F.softmax(logits, 2).mean(0)
    )
