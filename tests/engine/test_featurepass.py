"""The pass over all samples, or over a drawn few."""

from contextlib import nullcontext

import numpy as np
import torch
from cases import write_pictures

from foveal.data.loader import BadFiles
from foveal.data.scan import scan
from foveal.data.sources import open_source
from foveal.engine.build import build_table
from foveal.engine.featurepass import DiskFeaturePass
from foveal.views.presets import center_view


def test_a_count_is_a_sample_in_row_order_that_the_seed_decides(tmp_path):
    source = open_source(write_pictures(tmp_path, n=12))
    table = build_table(source, scan(source))

    def means(seed, count, batch=4):
        run = DiskFeaturePass(
            torch.nn.Identity(), table, device=torch.device("cpu"), batch=batch, threads=1,
            seed=seed, autocast=nullcontext, bad=BadFiles(),
        )  # fmt: skip
        found = run(lambda x: x.mean((2, 3)), center_view(16), count=count).x.copy()
        run.close()
        return found

    every = means(0, None)
    assert every.shape == (12, 3) and len(np.unique(every, axis=0)) == 12
    assert np.array_equal(means(0, 99), every)
    some = means(0, 5)
    rows = [int(np.flatnonzero((every == row).all(1))[0]) for row in some]
    assert len(set(rows)) == 5 and rows == sorted(rows) and rows != [0, 1, 2, 3, 4]
    assert np.array_equal(means(0, 5, batch=3), some)
    assert not np.array_equal(means(1, 5), some)
