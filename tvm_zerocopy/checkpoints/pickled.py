"""Reads a pickle as data: no class is looked up, no function is called, nothing is imported.

A pickle is a program; the standard reader runs it, so that a file of weights can run any command. This one interprets
the instructions that PyTorch's writer uses and builds plain values: a class becomes a ``Global`` (its name), an object
a ``Record`` (its class's name and its state). Calls are answered from the tables below; a file that asks for any other
call is refused.
"""

import pickletools
from typing import Any, BinaryIO, Callable, Dict, List, Optional, Tuple

from ..errors import ModelError

# Calls that checkpoints make to rebuild values that are no weights (dates, paths, metrics): recorded, not made.
_RECORDED = {
    ("argparse", "Namespace"),
    ("collections", "Counter"),
    ("collections", "defaultdict"),
    ("collections", "deque"),
    ("datetime", "date"),
    ("datetime", "datetime"),
    ("datetime", "timedelta"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("pathlib", "Path"),
    ("pathlib", "PosixPath"),
    ("pathlib", "PurePosixPath"),
    ("pathlib", "WindowsPath"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._C._nn", "gelu"),
}
_LONGEST = 120  # characters of the file's own text in a message
_SCALARS = (str, bytes, int, float, bool, type(None))

Construct = Callable[..., Any]


class Global:
    """The name of a class or function in the file; what it names is never loaded."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def __str__(self):
        text = f"{self.module}.{self.name}"[:_LONGEST]
        return text if text.isprintable() else ascii(text)  # a file's bytes must not steer a terminal


class Record:
    """An object in the file: the name of its class, the arguments it was made with and its state."""

    __slots__ = ("args", "kind", "state")

    def __init__(self, kind: Global, args: Tuple = ()):
        self.kind, self.args = kind, args
        self.state: Dict[Any, Any] = {}

    def __str__(self):
        return f"a {self.kind}"


class _Mark:
    __slots__ = ()


_MARK = _Mark()


def _plain_dict(items=()) -> Dict:
    """``OrderedDict`` and ``defaultdict`` as a dict."""
    result = {}
    for key, value in items:
        result[_key(key)] = value
    return result


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"it encodes text as {encoding!r}")
    return text.encode("latin-1")


# The only functions that stand behind a name in the file, besides those the caller gives.
_CONSTRUCTORS: Dict[Tuple[str, str], Construct] = {
    ("collections", "OrderedDict"): _plain_dict,
    ("__builtin__", "set"): lambda items=(): list(items),
    ("builtins", "set"): lambda items=(): list(items),
    ("builtins", "frozenset"): lambda items=(): list(items),
    ("__builtin__", "frozenset"): lambda items=(): list(items),
    ("__builtin__", "bytes"): lambda: b"",  # how protocol 2 writes empty bytes; others go through _codecs.encode
    ("_codecs", "encode"): _encode,
}


def load_pickle(
    stream: BinaryIO,
    source: str,
    constructors: Optional[Dict[Tuple[str, str], Construct]] = None,
    persistent: Optional[Callable[[Any], Any]] = None,
) -> Any:
    """Read one pickle from a stream and leave the stream after it.

    Parameters
    ----------
    stream : binary file
    source : str
        What to call the file in messages.
    constructors : dict
        ``(module, name)`` to a function of this package that is called in the named one's place.
    persistent : function
        Answers references to data outside the pickle.

    Returns
    -------
    object
        None, bool, int, float, str, bytes, list, tuple, dict, Global, Record and what the functions given return. Sets
        become lists.

    Raises
    ------
    ModelError
        If the pickle is cut off or malformed, or asks for a call that is not in the tables.
    """
    return _Reader(source, {**_CONSTRUCTORS, **(constructors or {})}, persistent).read(stream)


class _Reader:
    def __init__(self, source, constructors, persistent):
        self.source, self.constructors, self.persistent = source, constructors, persistent
        self.stack: List[Any] = []
        self.memo: Dict[int, Any] = {}

    def read(self, stream: BinaryIO) -> Any:
        try:
            for opcode, arg, _ in pickletools.genops(stream):
                if opcode.name == "STOP":
                    return self.stack.pop()
                step = _STEPS.get(opcode.name)
                if step is None:
                    raise ModelError(
                        f"{self.source} holds the pickle instruction {opcode.name}, which PyTorch never writes; "
                        "nothing in it was run. Use a checkpoint from a source you trust"
                    )
                step(self, arg)
        except NotImplementedError as error:
            raise ModelError(
                f"{self.source} holds {error}, which is not supported; save the model's state_dict() in float32 or "
                "float16"
            ) from error
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, UnicodeError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"{self.source} is damaged: its pickle cannot be read ({str(error)[:_LONGEST]}); fetch it again"
            ) from error
        raise ModelError(f"{self.source} is damaged: its pickle has no end; fetch it again")

    def since_mark(self) -> List[Any]:
        for start in range(len(self.stack) - 1, -1, -1):
            if self.stack[start] is _MARK:
                items = self.stack[start + 1 :]
                del self.stack[start:]
                return items
        raise ValueError("no mark on the stack")

    def call(self, function: Any, args: Tuple) -> Any:
        if not isinstance(function, Global) or not isinstance(args, tuple):
            raise ValueError("a call of something that is no function")
        key = (function.module, function.name)
        if key in self.constructors:
            return self.constructors[key](*args)
        if key in _RECORDED:
            return Record(function, args)
        if function.module.split(".")[0] == "torch":
            raise NotImplementedError(f"a value made by {function}")
        raise ModelError(
            f"{self.source} asks to call {function} while it is read, which weights never need; it was not called. Use "
            "a checkpoint from a source you trust, or save its state_dict() alone"
        )

    def resolve(self, reference: Any) -> Any:
        if self.persistent is None:
            raise ValueError("a reference to data outside the file")
        return self.persistent(reference)

    def global_(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a class name that is no text")
        self.stack.append(Global(module, name))


def _key(key: Any) -> Any:
    # Hashing nested tuples can take exponential time, and no checkpoint has them as keys.
    if not isinstance(key, _SCALARS):
        raise ValueError(f"a dictionary key of type {type(key).__name__}")
    return key


def _items_of(target: Any, kind: type) -> Any:
    if isinstance(target, Record):  # subclass of dict or list: keeps its items beside its state
        return target.state.setdefault("(items)", kind())
    if not isinstance(target, kind):
        raise ValueError(f"items for a {type(target).__name__}")
    return target


def _set_items(target: Any, items: List[Any]) -> None:
    if len(items) % 2:
        raise ValueError("a key without a value")
    into = _items_of(target, dict)
    for key, value in zip(items[::2], items[1::2]):
        into[_key(key)] = value


def _push(reader: _Reader, arg: Any) -> None:
    reader.stack.append(arg)


def _constant(make: Callable[[], Any]) -> Callable:
    def step(reader: _Reader, arg: Any) -> None:
        reader.stack.append(make())

    return step


def _tuple_of(count: int) -> Callable:
    def step(reader: _Reader, arg: Any) -> None:
        if len(reader.stack) < count:
            raise ValueError("an empty stack")
        items = tuple(reader.stack[-count:])
        reader.stack[-count:] = [items]

    return step


def _put(reader: _Reader, arg: int) -> None:
    reader.memo[arg] = reader.stack[-1]


def _memoize(reader: _Reader, arg: Any) -> None:
    reader.memo[len(reader.memo)] = reader.stack[-1]


def _get(reader: _Reader, arg: int) -> None:
    reader.stack.append(reader.memo[arg])


def _append(reader: _Reader, arg: Any) -> None:
    item = reader.stack.pop()
    _items_of(reader.stack[-1], list).append(item)


def _appends(reader: _Reader, arg: Any) -> None:
    items = reader.since_mark()
    _items_of(reader.stack[-1], list).extend(items)


def _set_item(reader: _Reader, arg: Any) -> None:
    items = reader.stack[-2:]
    del reader.stack[-2:]
    _set_items(reader.stack[-1], items)


def _set_items_since_mark(reader: _Reader, arg: Any) -> None:
    items = reader.since_mark()
    _set_items(reader.stack[-1], items)


def _dict_since_mark(reader: _Reader, arg: Any) -> None:
    items = reader.since_mark()
    reader.stack.append({})
    _set_items(reader.stack[-1], items)


def _global(reader: _Reader, arg: str) -> None:
    module, name = arg.split(" ", 1)
    reader.global_(module, name)


def _stack_global(reader: _Reader, arg: Any) -> None:
    name, module = reader.stack.pop(), reader.stack.pop()
    reader.global_(module, name)


def _reduce(reader: _Reader, arg: Any) -> None:
    args, function = reader.stack.pop(), reader.stack.pop()
    reader.stack.append(reader.call(function, args))


def _new_object(reader: _Reader, arg: Any) -> None:
    args, kind = reader.stack.pop(), reader.stack.pop()
    if not isinstance(kind, Global) or not isinstance(args, tuple):
        raise ValueError("an object of something that is no class")
    reader.stack.append(Record(kind, args))


def _build(reader: _Reader, arg: Any) -> None:
    state, target = reader.stack.pop(), reader.stack[-1]
    if isinstance(target, Record):
        if isinstance(state, tuple) and len(state) == 2 and all(isinstance(s, (dict, type(None))) for s in state):
            for part in state:  # (__dict__, __slots__)
                target.state.update(part or {})
        elif isinstance(state, dict):
            target.state.update(state)
        else:
            target.state["(state)"] = state
    # The state of anything else (an OrderedDict's _metadata) is not data that a reader of weights needs.


_STEPS: Dict[str, Callable[[_Reader, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda reader, arg: None),
    **dict.fromkeys(
        (
            *("BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "INT", "FLOAT", "BINFLOAT"),
            *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
            *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        ),
        _push,
    ),
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "EMPTY_LIST": _constant(list),
    "EMPTY_SET": _constant(list),
    "EMPTY_DICT": _constant(dict),
    "EMPTY_TUPLE": _constant(tuple),
    "MARK": _constant(lambda: _MARK),
    "TUPLE": lambda reader, arg: reader.stack.append(tuple(reader.since_mark())),
    "LIST": lambda reader, arg: reader.stack.append(reader.since_mark()),
    "FROZENSET": lambda reader, arg: reader.stack.append(reader.since_mark()),
    "DICT": _dict_since_mark,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "POP": lambda reader, arg: reader.stack.pop(),
    "POP_MARK": lambda reader, arg: reader.since_mark(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    "MEMOIZE": _memoize,
    "APPEND": _append,
    **dict.fromkeys(("APPENDS", "ADDITEMS"), _appends),
    "SETITEM": _set_item,
    "SETITEMS": _set_items_since_mark,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _new_object,
    "BUILD": _build,
    "BINPERSID": lambda reader, arg: reader.stack.append(reader.resolve(reader.stack.pop())),
}
