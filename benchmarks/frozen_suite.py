"""How long the frozen protocols take once the features are there, one after another.

    python benchmarks/frozen_suite.py RUN DATA [--protocols knn,linear,...] [--features FOLDER]

Features are extracted first and not counted. What a folder of features holds of an earlier
measurement is found and not measured again: use a new one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from foveal.data.splits import load_splits
from foveal.evaluation.bench import Bench
from foveal.evaluation.endpoints import chosen_ends, end_features
from foveal.evaluation.features import Store
from foveal.evaluation.protocols import get_protocol
from foveal.exporting.weights import load_encoder

PROTOCOLS = "knn,linear,ridge,svm,clusters,retrieval,episodes,endpoints"


def main(argv: Sequence[str] | None = None) -> None:
    """Prints seconds of wall clock and of processors for each protocol."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--protocols", default=PROTOCOLS)
    parser.add_argument("--features", type=Path, help="where features are kept, or found again")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="foveal-suite-") as temporary:
        kept = options.features or Path(temporary) / "features"
        encoder = load_encoder(options.run)
        train, test = load_splits(options.data, channels=encoder.channels)
        bench = Bench(encoder, train, test, Store(kept), model=str(options.run))
        start = time.perf_counter()
        for split in (bench.trained, bench.untrained, bench.pixels):
            print(f"{len(split.train.x):,} + {len(split.test.x):,} pictures, "
                  f"{split.train.x.shape[1]} features")  # fmt: skip
        if "endpoints" in options.protocols.split(","):
            for network in (bench.encoder, bench.random_encoder):
                for source in (bench.train, bench.test):
                    end_features(bench, network, chosen_ends(network, None), source)
        print(f"features {time.perf_counter() - start:.1f} s, not counted")
        total = 0.0
        for name in options.protocols.split(","):
            start, cpu = time.perf_counter(), time.process_time()
            results = get_protocol(name)(bench)
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            total += wall
            first = results[0]
            print(f"{name:12} {wall:7.1f} s  {cpu:7.1f} s of processors  "
                  f"{first.metric} {100 * first.value:.1f}", flush=True)  # fmt: skip
        print(f"{'all':12} {total:7.1f} s")


if __name__ == "__main__":
    main()
