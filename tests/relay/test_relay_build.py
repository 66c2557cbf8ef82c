"""The package beside a TVM with Relay: the same names are there."""

import pytest

import tvm_zerocopy as tz
from tvm_zerocopy import ir_build


def test_finds_out_which_build_it_is():
    assert ir_build.intermediate_representation() == "relay"


NAMES = ["Frame", "Preprocess", "Nms", "Detections", "ExternalBuffer", "FrameRing", "compile", "load", "Engine"]


@pytest.mark.parametrize("name", NAMES)
def test_the_public_names_are_there(name):
    assert getattr(tz, name).__name__ == name
