"""Relay modules built and run as their owners do."""

import json

import numpy as np
import tvm
from relay_road import TARGET, build
from tvm import relay
from tvm.contrib import graph_executor

__all__ = ["TARGET", "build", "executor", "image_model", "kernels"]


def executor(library):
    """The GraphExecutor and a ``run(**arrays) -> results``."""
    module = graph_executor.GraphModule(library["default"](tvm.cpu()))

    def run(**arrays):
        for name, array in arrays.items():
            module.set_input(name, np.ascontiguousarray(array))
        module.run()
        return [module.get_output(i).numpy() for i in range(module.get_num_outputs())]

    return module, run


def kernels(library):
    """Names of the kernels that one inference calls, in order."""
    return [node["attrs"]["func_name"] for node in json.loads(library.get_graph_json())["nodes"] if "attrs" in node]


def image_model(shape, dtype="float32"):
    """main(images) -> images + images."""
    images = relay.var("images", shape=shape, dtype=dtype)
    return tvm.IRModule.from_expr(relay.Function([images], relay.add(images, images)))
