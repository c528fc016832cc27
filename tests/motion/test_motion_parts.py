"""The parts of uNLC, against golden values and against definitions written out slowly."""

from itertools import pairwise

import numpy as np
import pytest
from clips import moving_square
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab
from skimage.feature import hog

from foveal.motion.regions import DESCRIPTOR, descriptors, gradients, region_means, superpixels
from foveal.motion.saliency import deviation, to_frames
from foveal.motion.settings import Settings
from foveal.motion.shots import colour_histogram, find_cuts, penalty, six_channels, step_of
from foveal.motion.voting import consensus, final_mask, make_links, nearest_links, per_frame

DEFAULTS = Settings()


def flow_of(angles, lengths):
    angles, lengths = np.array(angles), np.array(lengths)
    return np.stack([np.cos(angles) * lengths, np.sin(angles) * lengths], -1).astype(np.float32)


def dense_links(distances):
    d = np.array(distances, np.float32)
    return make_links(np.tile(np.arange(len(d)), (len(d), 1)), d**2)


def test_the_transition_matrix_and_its_votes():
    links = dense_links([[0, 0.2, 0.5], [0.2, 0, 0], [0.5, 0.3, 0]])
    matrix = links.weight + np.diag(links.own)
    assert np.allclose(matrix[0], [0.570644, 0.382514, 0.046841], atol=1e-6)
    assert np.allclose(matrix[1], [0.401312, 0.598688, 0], atol=1e-6)
    assert np.allclose(matrix[2], [0.05514, 0.273112, 0.671747], atol=1e-6)
    votes = np.array([1, 0, 0.2], np.float32)
    steps = [(1, 0.691903, 0.3267), (1, 0.958778, 0.544982), (0.987284, 1, 0.700369)]
    starts = np.array([0, 3])
    for golden in steps:
        votes = per_frame(links.vote(votes), starts)
        assert np.allclose(votes, golden, atol=1e-6)
    for _ in range(200):
        votes = per_frame(links.vote(votes), starts)
    assert np.allclose(votes, 1, atol=1e-4)


def test_a_translating_camera():
    flow = flow_of([0.1, 0.2, 0.15, 2.5], [2, 2, 2, 1.5])
    assert np.allclose(
        deviation(flow, DEFAULTS), [0.003258, 0.001842, 0.00005, 5.489276], atol=1e-5
    )
    # The largest bin holds 6 of 7.5: a share of 0.8 and no more.
    assert deviation(flow, Settings(direction_share=0.799)) is not None
    assert deviation(flow, Settings(direction_share=0.801)) is None


def test_the_shortest_way_round():
    flow = flow_of([3.0, 3.05, -3.0], [5, 5, 0.1])
    centre = np.pi - np.pi / 20
    assert deviation(flow, DEFAULTS)[2] == pytest.approx((2 * np.pi - 3.0 - centre) ** 2, rel=1e-3)


def test_a_standing_camera():
    flow = flow_of([0, 1, 2, 3], [0.2, 0.4, 3, 0.1])
    assert np.allclose(deviation(flow, DEFAULTS), [0.04, 0.16, 9, 0.01], atol=1e-6)


def test_a_camera_that_does_neither():
    angles = np.linspace(-np.pi, np.pi, 100)
    assert deviation(flow_of(angles, np.full(100, 4.0)), DEFAULTS) is None


def test_penalties_of_cuts():
    assert penalty(60, 0) == 0
    assert penalty(60, 1) == pytest.approx(0.025472, abs=1e-6)
    assert penalty(60, 2) == pytest.approx(0.044012, abs=1e-6)


@given(
    lengths=st.lists(st.integers(8, 30), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
@settings(max_examples=20, deadline=None)
def test_cuts_are_found_where_colours_change(lengths, seed):
    generator = np.random.default_rng(seed)
    scenes = np.eye(240)[generator.permutation(240)[: len(lengths)]]
    rows = np.repeat(scenes, lengths, axis=0) + generator.normal(0, 0.001, (sum(lengths), 240))
    assert find_cuts(rows) == list(np.cumsum(lengths)[:-1])


def test_cuts_are_the_best_of_all():
    """Against every way to cut a short sequence."""
    rows = np.random.default_rng(0).normal(size=(9, 3))

    def total(cuts):
        edges = [0, *cuts, 9]
        parts = [rows[a:b] for a, b in pairwise(edges)]
        spread = sum(((p - p.mean(0)) ** 2).sum() for p in parts)
        return spread / 9 + penalty(9, len(cuts))

    ways = [()] + [(a,) for a in range(1, 9)]
    ways += [(a, b) for a in range(1, 9) for b in range(a + 1, 9)]
    assert find_cuts(rows, most=2) == list(min(ways, key=total))


@pytest.mark.parametrize(("length", "step"), [(110, 1), (111, 2), (219, 2), (220, 3), (1500, 14)])
def test_long_shots_are_thinned(length, step):
    assert step_of(length) == step


def test_colour_histograms_are_those_of_numpy():
    frame = moving_square(frames=1)[0][0]
    found = colour_histogram(frame).reshape(6, 40)
    assert np.allclose(found.sum(1), 1)
    for c in range(3):
        expected, _ = np.histogram(frame[..., c], 40, (0, 255))
        assert np.allclose(found[c], expected / frame[..., c].size)
    assert np.abs(six_channels(frame)[..., 3:] - rgb2lab(frame)).max() < 1.0


def test_gradients_are_those_of_scikit_image():
    patches = np.random.default_rng(0).random((5, 15, 15)).astype(np.float32)
    expected = [
        hog(p, orientations=6, pixels_per_cell=(5, 5), cells_per_block=(3, 3)) for p in patches
    ]
    assert np.allclose(gradients(patches), expected, atol=1e-5)


def test_descriptors_have_176_numbers_each():
    frame = moving_square(frames=1)[0][0]
    labels = superpixels(frame, 100)
    found = descriptors(frame, labels)
    assert found.shape == (labels.max() + 1, 176) == (labels.max() + 1, DESCRIPTOR)
    assert np.allclose(found[:, 54:174].reshape(-1, 6, 20).sum(2), 1, atol=1e-5)
    assert found[:, 174:].min() >= 0 and found[:, 174:].max() < 1
    assert set(np.unique(labels)) == set(range(labels.max() + 1))


def test_links_are_the_nearest_ones_of_the_frames_around():
    generator = np.random.default_rng(1)
    frames = [generator.normal(size=(7, 4)).astype(np.float32) for _ in range(6)]
    frames[1][0] = frames[0][0]  # a copy: no link
    numbers = Settings(radius=1, links=2, link_variance=1.0)
    links = nearest_links(frames, numbers)
    every, frame_of = np.concatenate(frames), np.repeat(np.arange(6), 7)
    for n in range(len(every)):
        near = np.flatnonzero(np.abs(frame_of - frame_of[n]) <= 1)
        distance = ((every[near] - every[n]) ** 2).sum(1)
        chosen = near[np.argsort(distance, kind="stable")[:6]]
        expected = {
            int(m): np.exp(-((every[m] - every[n]) ** 2).sum())
            for m in chosen
            if (every[m] != every[n]).any()
        }
        total = 1 + sum(expected.values())
        found = {int(m): w for m, w in zip(links.to[n], links.weight[n], strict=True) if w > 0}
        assert found.keys() == expected.keys()
        assert all(found[m] == pytest.approx(w / total, rel=1e-4) for m, w in expected.items())
        assert links.own[n] == pytest.approx(1 / total, rel=1e-4)


def test_few_frames_give_links_to_all_of_them():
    frames = np.random.default_rng(2).random((2, 3, 4)).astype(np.float32)
    links = nearest_links(list(frames), DEFAULTS)
    assert np.allclose(links.own + links.weight.sum(1), 1, atol=1e-6)
    assert ((links.weight > 0).sum(1) == 5).all()


def test_votes_of_a_frame_without_any_stay_zero():
    votes = np.array([0, 0, 0.2, 0.4], np.float32)
    assert np.allclose(per_frame(votes, np.array([0, 2, 4])), [0, 0, 0.5, 1])


def test_borders_do_not_vote_and_the_largest_is_one():
    votes = np.random.default_rng(0).random((2, 20, 20)).astype(np.float32)
    out = to_frames(votes, 80, 120, 0.125)
    assert out.shape == (2, 80, 120) and out.max() == 1
    assert not out[:, :10].any() and not out[:, :, -10:].any() and out[:, 12:-12, 12:-12].any()


def test_small_blobs_leave_the_foreground_and_become_doubtful():
    soft = np.zeros((10, 20), np.float32)
    soft[1:5, 1:6], soft[1:5, 8:12], soft[7:9, 2:4] = 0.9, 0.95, 0.8  # 20, 16 and 4 pixels
    found = final_mask(soft, DEFAULTS) > 0.7
    assert found[1:5, 1:6].all() and found[1:5, 8:12].all() and not found[7:9].any()
    assert np.allclose(final_mask(soft, DEFAULTS)[7:9, 2:4], 0.7)


def test_blobs_are_cleared_between_rounds_where_the_threshold_says_so():
    labels = np.repeat(np.arange(4, dtype=np.uint16), 5)[None].repeat(3, 0)  # four columns
    votes = np.array([1, 0.1, 0.8, 0.1], np.float32)
    alone = make_links(np.zeros((4, 1), np.intp), np.zeros((4, 1), np.float32))
    kept = consensus(votes, alone, [labels], Settings(rounds=1, votes=1))
    assert np.allclose(kept, votes)
    cleared = consensus(votes, alone, [labels], Settings(rounds=1, votes=1, blob_mean=0.9))
    assert np.allclose(cleared, [1, 0.1, 0.175, 0.1])


def test_means_of_regions():
    labels = np.array([[0, 0, 1], [2, 1, 1]], np.uint16)
    values = np.array([[1, 3, 2], [5, 4, 6]], np.float32)
    assert np.allclose(region_means(values, labels), [2, 4, 5])
