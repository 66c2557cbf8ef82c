"""A small kernel with a design space of six points, and a target that compiles it quickly."""

import pytest
from tuning_kernels import TileRule, dense_workload

from tvm_zerocopy.targets import resolve_target
from tvm_zerocopy.tuning.tasks import Task


@pytest.fixture(scope="session")
def target():
    return resolve_target("llvm")


@pytest.fixture(scope="session")
def rules():
    return [TileRule()]


@pytest.fixture
def task():
    return Task("dense", dense_workload(), weight=2, flop=2.0 * 64**3, points=6)
