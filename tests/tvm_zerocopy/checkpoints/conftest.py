"""Writes checkpoints in PyTorch's two formats without PyTorch, opcode by opcode, so that they can hold anything."""

import io
import pickle
import struct
import zipfile
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest

Class = namedtuple("Class", "module name")
Object = namedtuple("Object", "kind state")  # what pickle does with an instance: NEWOBJ, then BUILD
Call = namedtuple("Call", "function args")  # what pickle does with __reduce__
OrderedItems = namedtuple("OrderedItems", "items")
Array = namedtuple("Array", "values device storage_class", defaults=("cpu", None))

_STORAGE = {
    "float16": "HalfStorage",
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "int64": "LongStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


class Writer:
    """One pickle, protocol 2; arrays become references to storages."""

    def __init__(self, legacy=False):
        self.out, self.storages, self.legacy = io.BytesIO(), [], legacy

    def dump(self, value):
        self.out.write(b"\x80\x02")
        self.put(value)
        self.out.write(b".")
        return self.out.getvalue()

    def put(self, value):
        write = self.out.write
        if value is None or isinstance(value, (bool, int, float, str)):
            write(pickle.dumps(value, 2)[2:-1])
        elif isinstance(value, Class):
            write(f"c{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Object):
            self.put(value.kind)
            write(b")\x81")
            self.put(value.state)
            write(b"b")
        elif isinstance(value, Call):
            self.put(value.function)
            self.put(value.args)
            write(b"R")
        elif isinstance(value, OrderedItems):
            self.put(Call(Class("collections", "OrderedDict"), ()))
            self.put_items(value.items)
        elif isinstance(value, Array):
            self.put_array(value)
        elif isinstance(value, dict):
            write(b"}")
            self.put_items(value)
        elif isinstance(value, tuple):
            write(b"(")
            for item in value:
                self.put(item)
            write(b"t")
        elif isinstance(value, list):
            write(b"](")
            for item in value:
                self.put(item)
            write(b"e")
        else:
            raise TypeError(type(value))

    def put_items(self, items):
        self.out.write(b"(")
        for key, item in items.items():
            self.put(key)
            self.put(item)
        self.out.write(b"u")

    def put_array(self, array):
        values = np.asarray(array.values)
        kind = Class("torch", array.storage_class or _STORAGE[values.dtype.name])
        reference = ("storage", kind, str(len(self.storages)), array.device, values.size)
        self.storages.append(np.ascontiguousarray(values))
        self.put_storage_view(reference, 0, values.shape, np.array(values.strides, int) // max(values.itemsize, 1))

    def put_storage_view(self, reference, offset, shape, strides):
        self.put(Class("torch._utils", "_rebuild_tensor_v2"))
        self.out.write(b"(")
        self.put(reference + (None,) if self.legacy else reference)
        self.out.write(b"Q")
        hooks = Call(Class("collections", "OrderedDict"), ())
        for item in (offset, tuple(map(int, shape)), tuple(map(int, strides)), False, hooks):
            self.put(item)
        self.out.write(b"tR")


def write_zip(path, root=None, pickled=None, storages=None, compression=zipfile.ZIP_STORED, name="archive"):
    """What ``torch.save`` writes since 1.6; ``pickled`` bytes take the place of ``root``."""
    writer = Writer()
    data = pickled if pickled is not None else writer.dump(root)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{name}/data.pkl", data)
        archive.writestr(f"{name}/byteorder", "little")
        for key, values in enumerate(writer.storages if storages is None else storages):
            archive.writestr(f"{name}/data/{key}", values.tobytes())
        archive.writestr(f"{name}/version", "3\n")
    return path


def write_legacy(path, root):
    """What ``torch.save`` wrote before 1.6, and torchvision's files still are."""
    writer = Writer(legacy=True)
    data = writer.dump(root)
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with open(path, "wb") as file:
        for head in (0x1950A86A20F9469CFC6C, 1001, machine):
            file.write(pickle.dumps(head, 2))
        file.write(data)
        file.write(pickle.dumps([str(i) for i in range(len(writer.storages))], 2))
        for values in writer.storages:
            file.write(struct.pack("<q", values.size) + values.tobytes())
    return path


def module(kind, parameters=None, buffers=None, children=None, transient=(), **attributes):
    """A pickled ``torch.nn.Module``."""
    state = {
        "training": False,
        "_parameters": OrderedItems(parameters or {}),
        "_buffers": OrderedItems(buffers or {}),
        "_non_persistent_buffers_set": Call(Class("__builtin__", "set"), (list(transient),)),
        "_modules": OrderedItems(children or {}),
        **attributes,
    }
    return Object(Class(*kind.rsplit(".", 1)), state)


def module_tree(weights, leaf=Array, **attributes):
    """A ``models.yolo.DetectionModel`` whose ``state_dict()`` is ``weights``."""

    def grow(kind, entries, **extra):
        parameters, nested = {}, {}
        for name, value in entries.items():
            head, _, rest = name.partition(".")
            if rest:
                nested.setdefault(head, {})[rest] = value
            else:
                parameters[name] = leaf(value)
        children = {k: grow("models.common.Conv", v) for k, v in nested.items()}
        return module(kind, parameters, children=children, **extra)

    return grow("models.yolo.DetectionModel", weights, **attributes)


@pytest.fixture(scope="session")
def files():
    """The writers and the values that they take."""
    return SimpleNamespace(
        Array=Array,
        Call=Call,
        Class=Class,
        Object=Object,
        OrderedItems=OrderedItems,
        Writer=Writer,
        module=module,
        module_tree=module_tree,
        write_legacy=write_legacy,
        write_zip=write_zip,
    )
