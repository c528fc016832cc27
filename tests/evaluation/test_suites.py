import numpy as np
import pytest
from test_finetune import _encoder, _pictures

import foveal
from foveal.errors import FovealError
from foveal.evaluation.finetune import parse_labels
from foveal.evaluation.protocols import PROTOCOLS
from foveal.evaluation.suites import SUITES, get_suite
from foveal.evaluation.tuning import get_tuning


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_names_what_there_is(name):
    suite = get_suite(name)
    assert set(suite.protocols) <= set(PROTOCOLS)
    assert len(set(suite.protocols)) == len(suite.protocols)
    parse_labels(suite.labels, seed=0)
    get_tuning(suite.tuning)
    assert suite.about


def test_the_doom_suite_leaves_nothing_out_but_what_trains_once_a_layer():
    slow = {"retrain_after", "finetune_after"}
    assert set(get_suite("doom").protocols) == set(PROTOCOLS) - slow


def test_a_wrong_name_tells_the_nearest():
    with pytest.raises(FovealError, match="no suite 'goyl'") as error:
        get_suite("goyl")
    assert "goyal" in error.value.hint


def test_evaluate_takes_a_suite_or_protocols(tmp_path):
    images, labels = _pictures(60)
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    found = foveal.evaluate(_encoder(), tmp_path / "data.npz", suite="goyal")
    assert list(dict.fromkeys(r.protocol for r in found)) == ["svm", "svm_lowshot", "sgd"]
    with pytest.raises(FovealError, match="give one of the two"):
        foveal.evaluate(_encoder(), tmp_path / "data.npz", suite="goyal", protocols=["knn"])
