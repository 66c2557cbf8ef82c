"""PyTorch's tensors and storages as numpy arrays, every bound checked against the bytes that the file holds."""

from typing import Any, Dict, Optional, Tuple, Union

import numpy as np

from .pickled import Global

# Storage class in the file -> numpy dtype of its elements, little-endian. bfloat16 has no numpy dtype: see to_numpy.
_BFLOAT16 = "bfloat16"
_DTYPES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "BFloat16Storage": _BFLOAT16,
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "BoolStorage": "?",
}


class Storage:
    """A run of elements in the file. The device it was saved from is not kept: the data is read to host memory.

    Parameters
    ----------
    kind : Global
        ``torch.HalfStorage`` and its like.
    key : str
        Its name among the file's storages.
    count : int
        Elements.
    """

    def __init__(self, kind: Global, key: str, count: int):
        if not isinstance(kind, Global):
            raise ValueError(f"a storage of {type(kind).__name__}")
        if kind.name not in _DTYPES:
            raise NotImplementedError(f"a storage of {kind}")
        if not isinstance(key, str) or not isinstance(count, int) or count < 0:
            raise ValueError("a storage without a name or a count of elements")
        self.key, self.count, self.dtype = key, count, _DTYPES[kind.name]
        self.data: Optional[bytes] = None

    @property
    def item_bytes(self) -> int:
        return 2 if self.dtype == _BFLOAT16 else np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        return self.count * self.item_bytes


class Tensor:
    """A strided view of a storage; offset and strides in elements."""

    def __init__(self, storage: Storage, offset: int, shape: Tuple[int, ...], strides: Tuple[int, ...]):
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, Storage) or len(shape) != len(strides):
            raise ValueError("a tensor without a storage")
        if any(not isinstance(n, int) or n < 0 for n in numbers):
            raise ValueError("a tensor whose shape, strides or offset are not whole numbers from 0")
        elements = int(np.prod(shape, dtype=object))
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides)) if elements else offset
        # More elements than the storage has is a broadcast, which could stand for any amount of memory.
        if elements > storage.count or last >= storage.count + (not elements):
            raise ValueError(f"a tensor of shape {shape} that reaches beyond its {storage.count} elements")
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def numpy(self) -> np.ndarray:
        """The values as a numpy array of the file's dtype; bfloat16, which numpy lacks, as float32."""
        storage = self.storage
        if 0 in self.shape:
            return np.zeros(self.shape, np.float32 if storage.dtype == _BFLOAT16 else storage.dtype)
        bfloat16 = storage.dtype == _BFLOAT16
        flat = np.frombuffer(storage.data, "<u2" if bfloat16 else storage.dtype, storage.count)[self.offset :]
        strides = tuple(stride * storage.item_bytes for stride in self.strides)
        view = np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)
        if bfloat16:  # the upper half of a float32
            return (view.astype(np.uint32) << 16).view(np.float32)
        return np.array(view, view.dtype.newbyteorder("="), order="C")


def rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor:
    """Stands in for ``torch._utils._rebuild_tensor`` and ``_rebuild_tensor_v2``."""
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def rebuild_parameter(data: Any, *rest: Any) -> Any:
    """Stands in for ``torch._utils._rebuild_parameter``: a parameter is its tensor."""
    return data


CONSTRUCTORS = {
    ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter,
}


class Storages:
    """The storages that a pickle refers to, by key."""

    def __init__(self):
        self.by_key: Dict[str, Storage] = {}

    def resolve(self, reference: Any) -> Union[Storage, Global]:
        """Answer a pickle's reference ``("storage", class, key, device, count, ...)``.

        The legacy format has ``("module", class, ...)`` too, with the class's source text: the class's name is taken.
        """
        head = reference[:2] if isinstance(reference, tuple) else ()
        if len(head) == 2 and head[0] == "module" and isinstance(head[1], Global):
            return head[1]
        if len(head) != 2 or len(reference) < 5 or head[0] not in ("storage", b"storage"):
            raise ValueError("a reference to something that is no storage")
        _, kind, key, _device, count, *view = reference
        if any(part is not None for part in view):
            raise ValueError("a storage that is a view of another (PyTorch before 0.4)")
        storage = Storage(kind, key, count)
        known = self.by_key.setdefault(storage.key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise ValueError(f"storage {key!r} with two types")
        return known
