"""Learning law, the short form: one small proof per family, on real pictures, in every test run.

`make proofs` trains the full small recipes. Here the data is a tenth and the budget is a fraction,
so the margins are those of such runs; the protocol is the same: kNN on maps never seen, beside the
same network at random initialisation, on the same pictures.
"""

import pytest

import foveal

FAMILIES = {"pretext": "rotation", "contrast": "simclr", "distillation": "byol", "clusters": "deepcluster"}


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    made = foveal.make_doom(tmp_path_factory.mktemp("doom"), what=("objects",), size=0.1)
    return made["objects"].path


@pytest.mark.parametrize("family", FAMILIES)
def test_it_beats_its_own_start(family, objects, tmp_path):
    method = FAMILIES[family]
    foveal.pretrain(
        objects / "train", tmp_path / "run", recipe=f"{method}/doom", epochs=EPOCHS[method],
        changes={"schedule": {"warmup": 2.0}, "machine": {"monitor_every": 1000.0}}, quiet=True,
    )  # fmt: skip
    (knn,) = [
        r
        for r in foveal.evaluate(tmp_path / "run", objects, protocols=["knn"])
        if r.metric == "top1"
    ]
    start = knn.baselines["random_init"]
    assert start["difference"] >= MARGIN, knn
    assert start["difference_interval"][0] > 0, knn
