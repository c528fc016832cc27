"""The protocols by name. A probe gives class scores; here they become numbers with baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from foveal.errors import FovealError
from foveal.evaluation.bench import Bench
from foveal.evaluation.cells_svm import svm_pyramid, svm_quadrants
from foveal.evaluation.clusters import clusters
from foveal.evaluation.compare import WHICH
from foveal.evaluation.endpoints import endpoints
from foveal.evaluation.episodes import episodes
from foveal.evaluation.finetune import fewlabels, finetune, finetune_after, retrain_after
from foveal.evaluation.health import health
from foveal.evaluation.knn import knn
from foveal.evaluation.lasso import lasso
from foveal.evaluation.linear import linear
from foveal.evaluation.low_shot import svm_lowshot
from foveal.evaluation.mlp import mlp, mlp_rotnet
from foveal.evaluation.own_data import OWN_DATA
from foveal.evaluation.probe import Probe
from foveal.evaluation.ranked import answers, figures
from foveal.evaluation.result import Result
from foveal.evaluation.retrieval import retrieval
from foveal.evaluation.ridge import ridge
from foveal.evaluation.sgd import sgd
from foveal.evaluation.svm import svm
from foveal.evaluation.tencrop import tencrop
from foveal.recipe import nearest


def get_protocol(name: str) -> Callable[[Bench], list[Result]]:
    """A protocol by name.

    Raises:
        FovealError: There is none; names the nearest.
    """
    if name not in PROTOCOLS:
        known = [*PROTOCOLS, *OWN_DATA]
        raise FovealError(f"there is no protocol '{name}'", hint=nearest(name, known))
    return PROTOCOLS[name]


def check_fits(name: str, bench: Bench) -> None:
    """Raises if the pictures hold several classes and the protocol knows one a picture."""
    if bench.several and name not in SEVERAL:
        raise FovealError(
            f"{name} needs one class a picture, and those of {bench.train.root} may hold several",
            hint=f"--protocol {','.join(SEVERAL)}",
        )


def check_reads_pooled(names: Iterable[str]) -> None:
    """Raises for a protocol that does not read the vector of a picture, or not it alone."""
    other = [name for name in names if name not in OF_VECTORS]
    if other:
        raise FovealError(
            f"{other[0]} does not read the vector of a picture, which --layer embedding is",
            hint=f"--protocol {','.join(OF_VECTORS)}",
        )


def classify(bench: Bench, *, name: str, probe: Probe) -> list[Result]:
    """What a probe makes of trained features, random initialisation and raw pixels.

    All three see the same pictures, the same held-out part and the same bootstrap resamples.
    """
    splits = dict(zip(WHICH, (bench.trained, bench.untrained, bench.pixels), strict=True))
    by = {
        which: answers(bench, name, probe, split, pixels=which == "pixels")
        for which, split in splits.items()
    }
    return figures(bench, name, by)


PROTOCOLS: dict[str, Callable[[Bench], list[Result]]] = {
    "knn": partial(classify, name="knn", probe=knn),
    "linear": partial(classify, name="linear", probe=linear),
    "ridge": partial(classify, name="ridge", probe=ridge),
    "sgd": partial(classify, name="sgd", probe=sgd),
    "endpoints": endpoints,
    "lasso": lasso,
    "tencrop": tencrop,
    "mlp": partial(classify, name="mlp", probe=mlp),
    "mlp_rotnet": partial(classify, name="mlp_rotnet", probe=mlp_rotnet),
    "svm": svm,
    "svm_lowshot": svm_lowshot,
    "svm_quadrants": svm_quadrants,
    "svm_pyramid": svm_pyramid,
    "retrieval": retrieval,
    "episodes": episodes,
    "clusters": clusters,
    "health": health,
    "fewlabels": fewlabels,
    "finetune": finetune,
    "retrain_after": retrain_after,
    "finetune_after": finetune_after,
}
"""By name; every one takes a bench and returns its results."""

TUNED = ("fewlabels", "finetune", "retrain_after", "finetune_after")
"""Those that train a copy of the network, by the settings of ``foveal.evaluation.tuning``."""

OF_VECTORS = (
    "knn", "linear", "ridge", "sgd", "mlp", "mlp_rotnet", "tencrop", "svm", "svm_lowshot",
    "retrieval", "episodes", "clusters", "health",
)  # fmt: skip
"""Those that read one vector a picture and nothing else: any layer does."""

SEVERAL = (
    "linear", "endpoints", "svm", "svm_lowshot", "health", "finetune", "retrain_after",
    "finetune_after",
)  # fmt: skip
"""Those that take pictures of several classes."""
