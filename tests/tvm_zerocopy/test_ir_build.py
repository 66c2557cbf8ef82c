"""Which IR the TVM build has, and one clear line for what it has not."""

import importlib.util
from importlib.machinery import PathFinder

import pytest

from tvm_zerocopy import ir_build
from tvm_zerocopy.errors import UnsupportedError


@pytest.fixture
def builds(monkeypatch, tmp_path):
    """Puts a ``tvm`` package with the named subpackages in TVM's place; with none named there is no TVM."""

    def build(*modules):
        for module in modules:
            folder = tmp_path.joinpath(*module.split("."))
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "__init__.py").touch()
        spec = PathFinder.find_spec("tvm", [str(tmp_path)])
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)

    return build


@pytest.mark.parametrize(
    "modules, found",
    [(("tvm", "tvm.tirx"), "relax"), (("tvm", "tvm.relay"), "relay"), (("tvm", "tvm.relay", "tvm.relax"), "relay")],
)
def test_names_the_representation(builds, modules, found):
    builds(*modules)
    assert ir_build.intermediate_representation() == found
    ir_build.require(found, "this")


@pytest.mark.parametrize(
    "modules, wanted, message",
    [
        ((), "relax", "TVM is not installed; install apache-tvm 0.27"),
        (("tvm",), "relay", "no IR known here"),
        (("tvm", "tvm.relay"), "relax", "this needs Relax, and this TVM build has Relay; install apache-tvm 0.27"),
        (("tvm", "tvm.tirx"), "relay", "this needs Relay, and this TVM build has Relax; install TVM 0.16 to 0.19"),
    ],
)
def test_what_a_build_cannot_do_is_one_clear_line(builds, modules, wanted, message):
    builds(*modules)
    with pytest.raises(UnsupportedError, match=message) as error:
        ir_build.require(wanted, "this")
    assert "\n" not in str(error.value)
