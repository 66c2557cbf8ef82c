"""Real-time object detection with no copy between camera and boxes, compiled by Apache TVM.

The public names load on first use: specs need neither TVM nor numpy.
"""

import importlib

__version__ = "0.1.0"

# public name -> module that defines it
_HOMES = {
    "Frame": "specs",
    "Preprocess": "specs",
    "Nms": "specs",
    "compile": "compiler",
    "load": "artifact",
    "Engine": "engine",
    "BoundEngine": "bound_engine",
    "Detections": "detections",
    "ExternalBuffer": "buffers",
    "FrameRing": "buffers",
    "ZeroCopyError": "errors",
}

# in TVM builds with Relay
_RELAY_HOMES = {"compile": "relay.compiler"}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    if name in _RELAY_HOMES:
        found = importlib.import_module(f"{__name__}.ir_build").intermediate_representation()
        home = _RELAY_HOMES[name] if found == "relay" else home
    try:
        module = importlib.import_module(f"{__name__}.{home}")
    except AttributeError as error:  # `from tvm_zerocopy import compile` would take it for a name that is not here
        raise ImportError(f"{error} (TVM's installation: tvm-zerocopy doctor says what is wrong)") from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *_HOMES])
