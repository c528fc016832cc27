import numpy as np
import pytest
import torch
from test_finetune import _encoder, _pictures
from test_stl10 import write_stl10

from foveal.errors import FovealError
from foveal.evaluation.cells_svm import cells_of
from foveal.evaluation.run import evaluate


@pytest.fixture
def data(tmp_path):
    images, labels = _pictures(90)
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    return tmp_path / "data.npz"


def test_cells_are_the_largest_values_of_their_part_of_every_map():
    encoder = _encoder()
    names = [end.name for end in encoder.ends]
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        maps = encoder(images, names)
        found = cells_of(encoder, images, (1, 2))
    assert found.shape == (2, 5 * sum(end.channels for end in encoder.ends))
    first = maps[names[0]]
    channels, side = first.shape[1], first.shape[2] // 2
    assert torch.equal(found[:, :channels], first.amax((2, 3)))
    quadrants = found[:, channels : 5 * channels].reshape(2, channels, 2, 2)
    assert torch.equal(quadrants[:, :, 0, 1], first[:, :, :side, side:].amax((2, 3)))


def test_ten_draws_of_so_many_a_class(data):
    found = evaluate(_encoder(), data, protocols=["svm_quadrants", "svm_pyramid"], labels=[4, 8])
    assert [(r.protocol, r.metric) for r in found] == [
        ("svm_quadrants", "top1 4-a-class"), ("svm_quadrants", "top1 8-a-class"),
        ("svm_pyramid", "mean_per_class 4-a-class"), ("svm_pyramid", "mean_per_class 8-a-class"),
    ]  # fmt: skip
    first, last = found[0], found[-1]
    about = first.configuration
    assert (about["draws"], about["per_draw"]) == (10, 12)
    draws = about["chosen"]["trained"]["draws"]
    assert len(draws) == 10 and first.value == pytest.approx(np.mean(draws))
    assert about["chosen"]["trained"]["std"] == pytest.approx(np.std(draws))
    assert first.value > 0.8  # a class is a colour
    assert set(first.baselines) == {"random_init", "pixels"}
    assert last.configuration["pooling"] == "max, 21 cells a map"
    # As many test pictures of every class: the two metrics are the same thing.
    assert last.value == pytest.approx(np.mean(last.configuration["chosen"]["trained"]["draws"]))


def test_official_folds_go_before_draws(tmp_path):
    write_stl10(tmp_path, train=18, test=9)
    (found,) = evaluate(_encoder(), tmp_path, protocols=["svm_quadrants"])
    assert (found.metric, found.n) == ("top1 folds", 9)
    assert (found.configuration["draws"], found.configuration["per_draw"]) == (3, 6)


def test_a_list_of_names_is_no_draw(data, tmp_path):
    (tmp_path / "names.txt").write_text("0\n")
    with pytest.raises(FovealError, match="one list of pictures"):
        evaluate(_encoder(), data, protocols=["svm_quadrants"], labels=[tmp_path / "names.txt"])
