"""A pickle is read as data: what it asks to run is refused, not run."""

import io
import os
import pickle
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_zerocopy.checkpoints.pickled import Global, Record, load_pickle
from tvm_zerocopy.errors import ModelError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.tuples(inner, inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=12,
)


def load(data, **options):
    return load_pickle(io.BytesIO(data), "file.pt", **options)


@given(VALUES, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_are_read_as_pickle_reads_them(value, protocol):
    assert load(pickle.dumps(value, protocol)) == value


class Evil:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def test_calls_are_refused_by_name_and_not_made(tmp_path):
    flag = tmp_path / "flag"
    for function, args, name in (
        (os.system, (f"touch {flag}",), "system"),
        (eval, (f"open({str(flag)!r}, 'w')",), "eval"),
        (exec, (f"open({str(flag)!r}, 'w')",), "exec"),
        (subprocess.Popen, (["touch", str(flag)],), "Popen"),
        (getattr, ("", "join"), "getattr"),
        (open, (str(flag), "w"), "open"),
    ):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            for wrap in (lambda x: x, lambda x: {"model": [1, {"ema": (x,)}]}):
                with pytest.raises(ModelError, match=f"call .*{name} .*was not called"):
                    load(pickle.dumps(wrap(Evil(function, *args)), protocol))
    assert not flag.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"(S'touch flag'\nios\nsystem\n.",  # INST: module and name in the instruction itself
        b"(cos\nsystem\nS'touch flag'\no.",  # OBJ
        b"\x80\x02\x82\x01.",  # EXT1: a class from copyreg's registry
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85}\x92.",  # NEWOBJ_EX
    ],
)
def test_other_ways_to_call_are_refused(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="PyTorch never writes"):
        load(data)
    assert not list(tmp_path.iterdir())


def test_a_class_is_only_its_name_and_an_object_only_its_state():
    # os.system as the class of an object: NEWOBJ and BUILD
    record = load(b"\x80\x02cos\nsystem\n)\x81}(U\x01aK\x01ub.")
    assert isinstance(record, Record) and str(record.kind) == "os.system" and record.state == {"a": 1}
    assert isinstance(load(b"\x80\x02cno.such.module\nThing\n."), Global)


def test_state_cannot_reach_the_readers_own_objects():
    record = load(b"\x80\x02cm\nC\n)\x81}(U\x09__class__cos\nsystem\nU\x04kindK\x01ub.")
    assert type(record) is Record and str(record.kind) == "m.C"


def test_nested_keys_that_would_hash_for_ever_are_refused():
    # key_n = (key_n-1, key_n-1): hashing it takes 2**n steps
    key = b"K\x01" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(100, 160))
    with pytest.raises(ModelError, match="dictionary key"):
        load(b"\x80\x02}" + key + b"K\x00s.")


def test_a_files_text_cannot_steer_the_terminal():
    name = b"\x1b[2J\nrm" + b"x" * 5000
    data = b"\x80\x04\x8c\x02os" + b"X" + len(name).to_bytes(4, "little") + name + b"\x93)R."
    with pytest.raises(ModelError) as caught:
        load(data)
    message = str(caught.value)
    assert message.isprintable() and "os." in message and len(message) < 500


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_read_or_refused(data):
    try:
        load(data)
    except ModelError as error:
        assert "file.pt" in str(error)


@given(st.data())
def test_damaged_pickles_are_read_or_refused(data):
    whole = pickle.dumps({"model": [1.5, "x" * 20, (None, True)], "n": {"a": 2**70}}, 2)
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[position] = data.draw(st.integers(0, 255))
    for candidate in (bytes(damaged), whole[:position]):
        try:
            load(candidate)
        except ModelError as error:
            assert "file.pt" in str(error)
