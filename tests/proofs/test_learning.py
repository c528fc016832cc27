"""Learning law, the short form: one small proof per family, on real pictures, in every test run.

`make proofs` trains the full small recipes. Here the pile is a fifth, the network half as wide and
the budget a fraction, so the margins are those of such runs. The protocol is the same: kNN on maps
never seen, beside the same network at random initialisation, on the same pictures.
"""

import pytest

import foveal

# Family: method, epochs over 2,440 pictures, batch, least gain in kNN over random initialisation.
FAMILIES = {
    "pretext": ("rotation", 25, 64, 0.02),
    "instances": ("simclr", 15, 256, 0.03),
    "clusters": ("deepcluster", 15, 64, 0.03),
}


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    made = foveal.make_doom(tmp_path_factory.mktemp("doom"), what=("objects",), size=0.2)
    return made["objects"].path


@pytest.mark.parametrize("family", FAMILIES)
def test_it_beats_its_own_start(family, objects, tmp_path):
    method, epochs, batch, margin = FAMILIES[family]
    changes = {
        "network": {"width": 0.5},
        "batch": batch,
        # One: other files of tests have the other cores, and torch's threads wait for each other.
        "machine": {"monitor_every": 1000.0, "cores": 1},
    }
    run = tmp_path / "run"
    foveal.pretrain(
        objects / "train", run, recipe=f"{method}/doom", epochs=epochs, changes=changes, quiet=True
    )
    results = foveal.evaluate(run, objects, protocols=["knn"])
    (knn,) = (r for r in results if r.metric == "top1")
    start = knn.baselines["random_init"]
    assert start["difference"] >= margin, knn
    assert start["difference_interval"][0] > 0, knn
