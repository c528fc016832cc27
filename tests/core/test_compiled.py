"""The cache of compiled functions follows every file they are made of."""

from foveal.core import compiled as module
from foveal.core.compiled import compiled, stamp_of
from foveal.views import make


@compiled()
def double(x):
    return 2 * x


def test_compiled_functions_compute_without_the_gil():
    assert double(3) == 6 and double(0.25) == 0.5
    assert double.targetoptions["nogil"]


def test_the_stamp_follows_the_text_of_every_file(tmp_path):
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    for file in files:
        file.write_text("x = 1\n")
    first = stamp_of(files)
    assert stamp_of(reversed(files)) == first
    files[1].touch()
    assert stamp_of(files) == first
    files[1].write_text("x = 2\n")
    assert stamp_of(files) not in (first, stamp_of(files[:1]))


def test_the_kernels_carry_the_stamp():
    """Numba's own stamp knows only the function's own file."""
    for dispatcher in (double, make._plain):
        assert dispatcher._cache._cache_file._source_stamp == module._stamp()
