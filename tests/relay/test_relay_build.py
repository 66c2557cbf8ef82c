"""The package beside a TVM with Relay: what imports, and what says that it cannot."""

import pytest

import tvm_zerocopy as tz
from tvm_zerocopy import ir_build
from tvm_zerocopy.errors import UnsupportedError


def test_finds_out_which_build_it_is():
    assert ir_build.intermediate_representation() == "relay"


@pytest.mark.parametrize("name", ["Frame", "Preprocess", "Nms", "Detections", "ExternalBuffer", "FrameRing"])
def test_what_needs_no_relax_is_there(name):
    assert getattr(tz, name).__name__ == name


@pytest.mark.parametrize("name", ["compile", "load", "Engine", "BoundEngine"])
def test_what_needs_relax_says_so(name):
    with pytest.raises(UnsupportedError, match=f"tvm_zerocopy.{name} needs Relax, and this TVM build has Relay"):
        getattr(tz, name)
