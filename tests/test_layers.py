"""Lower layers never import higher ones; light modules stay light."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "foveal"

# A module may import modules of its own layer and of the layers before it.
LAYERS = [
    {"errors"},
    {"core"},
    {"views"},
    {"data"},
    {"backbones", "losses", "clustering", "metrics", "motion"},
    {"methods"},
    {"recipe"},
    {"recipes"},
    {"engine"},
    {"exporting"},
    {"evaluation", "benchmarks"},
    {"studies"},
    {"report"},
    {"verbs"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# The recipe knows nothing of torch and may be read by everything that describes a run.
ANYWHERE = {"recipe"}


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            if name.startswith("foveal."):
                yield name.split(".")[1]


MODULES = sorted(p for p in SOURCE.rglob("*.py") if p != SOURCE / "__init__.py")


def test_every_package_has_its_place():
    top = {p.relative_to(SOURCE).parts[0].removesuffix(".py") for p in MODULES}
    assert top == set(LEVEL)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_module_imports_a_higher_layer(path):
    own = LEVEL[path.relative_to(SOURCE).parts[0].removesuffix(".py")]
    too_high = {n for n in _imports(path) if n not in ANYWHERE and LEVEL[n] > own}
    assert not too_high


def test_files_stay_readable():
    long = {
        str(p.relative_to(SOURCE)): lines
        for p in MODULES
        if (lines := len(p.read_text().splitlines())) > 500
    }
    assert not long
    for path in (SOURCE / "methods").glob("*.py"):
        if path.name not in ("base.py", "__init__.py"):
            assert len(path.read_text().splitlines()) < 200, path
    assert len((SOURCE / "engine" / "trainer.py").read_text().splitlines()) < 400


@pytest.mark.parametrize("code", ["import foveal", "import foveal.cli"])
def test_importing_needs_no_heavy_package(code):
    heavy = ["torch", "numba", "timm", "numpy", "faiss", "sklearn", "pydantic", "PIL"]
    check = f"{code}; import sys; print(*[m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == []


def test_help_is_quick():
    """The best of three, since a busy machine must not fail a test."""

    def seconds():
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "foveal", "--help"], check=True, capture_output=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(3)) < 0.5 + _interpreter_seconds()


def _interpreter_seconds():
    """What starting Python itself takes at the moment: the machine's speed drifts."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - start
