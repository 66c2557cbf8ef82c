"""FusePreprocess for Relay: one kernel in the owner's build and virtual machine; what a dense tensor cannot be."""

import numpy as np
import pytest
import tvm
from preprocess_frames import INPUT, random_frame
from relay_cases import TARGET, build, image_model, kernels
from tvm import relay

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.passes.relay import FusePreprocess
from tvm_zerocopy.reference import preprocess as reference
from tvm_zerocopy.specs import Frame, Preprocess

MODEL = image_model((1, 3, *INPUT))


def test_preprocessing_is_one_kernel():
    called = kernels(build(FusePreprocess(Frame("nv12", 90, 120), Preprocess())(MODEL)))
    assert len(called) == 2 and "tz_preprocess" in called[0]  # the other one is the model's addition


def test_virtual_machine():
    frame, preprocess = Frame("bgr8", 50, 70), Preprocess()
    with tvm.transform.PassContext(opt_level=3):
        executable = relay.vm.compile(FusePreprocess(frame, preprocess)(MODEL), TARGET)
    (array,) = random_frame(frame, 50, 70)
    found = tvm.runtime.vm.VirtualMachine(executable, tvm.cpu()).invoke("main", array).numpy()
    np.testing.assert_array_equal(found, 2 * reference(array, frame, preprocess, INPUT))


@pytest.mark.parametrize("frame, message", [(Frame(), "one size"), (Frame("bgr8", 8, 8, pitch=32), "no padded rows")])
def test_what_a_dense_tensor_cannot_is_one_clear_line(frame, message):
    with pytest.raises(UnsupportedError, match=message) as error:
        FusePreprocess(frame, Preprocess(), by_address=False)
    assert "\n" not in str(error.value)
