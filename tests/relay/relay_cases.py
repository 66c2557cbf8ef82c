"""Relay modules built and run as their owners do."""

import json

import numpy as np
import tvm
from tvm import relay
from tvm.contrib import graph_executor

TARGET = "llvm -mtriple=x86_64-linux-gnu" if "x86_64" in tvm.target.codegen.llvm_get_targets() else "llvm"


def build(mod, params=None, opt_level=3):
    with tvm.transform.PassContext(opt_level=opt_level):
        return relay.build(mod, TARGET, params=params)


def executor(library):
    """The GraphExecutor and a ``run(**arrays) -> results``."""
    module = graph_executor.GraphModule(library["default"](tvm.cpu()))

    def run(**arrays):
        for name, array in arrays.items():
            module.set_input(name, np.ascontiguousarray(array))
        module.run()
        return [module.get_output(i).numpy() for i in range(module.get_num_outputs())]

    return module, run


def program(mod, params=None):
    """The module, built, as ``run(**arrays) -> results``."""
    return executor(build(mod, params))[1]


def kernels(library):
    """Names of the kernels that one inference calls, in order."""
    return [node["attrs"]["func_name"] for node in json.loads(library.get_graph_json())["nodes"] if "attrs" in node]


def image_model(shape, dtype="float32"):
    """main(images) -> images + images."""
    images = relay.var("images", shape=shape, dtype=dtype)
    return tvm.IRModule.from_expr(relay.Function([images], relay.add(images, images)))
