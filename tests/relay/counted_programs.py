"""Bound programs of Relay's two executors, as ``copies.measure`` runs them in a process of its own."""

import numpy as np
import tvm
from preprocess_frames import INPUT, random_frame
from relay_cases import TARGET, build, executor, image_model
from tvm import relay

import tvm_zerocopy as tz
from tvm_zerocopy.passes.relay import FusePreprocess, bind_external_buffers

FRAME = tz.Frame("bgr8", 48, 80)
SHAPE = (1, 3, *INPUT)


def module():
    return FusePreprocess(FRAME, tz.Preprocess())(image_model(SHAPE))


def buffers():
    frame = tz.ExternalBuffer.allocate((48, 80, 3))
    frame.numpy()[...] = random_frame(FRAME, 48, 80)[0]
    return {"frame": frame}, [tz.ExternalBuffer.allocate(SHAPE, "float32")]


def on_graph_executor():
    return [("run", bind_external_buffers(executor(build(module()))[0], *buffers()).run)]


def on_virtual_machine():
    mod = module()
    with tvm.transform.PassContext(opt_level=3):
        machine = tvm.runtime.vm.VirtualMachine(relay.vm.compile(mod, TARGET), tvm.cpu())
    return [("run", bind_external_buffers(machine, *buffers(), mod["main"]).run)]


def copied():
    """A run that copies a frame and allocates, to see that both would be seen."""
    frame = np.asarray(buffers()[0]["frame"])
    return [("run", frame.copy)]
