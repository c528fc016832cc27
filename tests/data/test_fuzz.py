"""Damaged files of every format: no crash, no hang, no half a picture taken for a whole one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzer import FORMATS, SECONDS

FEW = -(-300 // len(FORMATS))  # cases of each format: 300 in all
MANY = -(-10_000 // len(FORMATS))


def run(suffix, first, last):
    command = [sys.executable, str(Path(__file__).with_name("fuzzer.py")), suffix, first, last]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, env=environment
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (
        f"{done.returncode} (crash, or over {SECONDS} s)\n{done.stderr[-3000:]}"
    )
    assert lines[:-1] == []
    return int(lines[-1].split()[1])


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_few_damaged_files(suffix):
    assert 0 < run(suffix, 0, FEW) <= FEW


@pytest.mark.soak
@pytest.mark.parametrize("suffix", FORMATS)
def test_many_damaged_files(suffix):
    assert run(suffix, FEW, FEW + MANY) > 0
