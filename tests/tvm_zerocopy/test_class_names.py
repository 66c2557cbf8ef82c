"""Class names from files and metadata."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_zerocopy.class_names import names_from_file, names_from_metadata
from tvm_zerocopy.errors import ModelError

NAMES = st.lists(st.text(min_size=1).filter(lambda s: s.strip() == s and s), min_size=1, max_size=5)


@given(NAMES)
def test_every_way_of_writing_them_into_a_model_gives_them_back(names):
    for value in (repr(dict(enumerate(names))), repr(names), json.dumps(names), json.dumps(dict(enumerate(names)))):
        assert names_from_metadata(value) == tuple(names)


@given(st.text())
def test_any_metadata_is_names_or_none(text):
    names = names_from_metadata(text)
    assert names is None or all(isinstance(name, str) for name in names)


@pytest.mark.parametrize(
    "file, text",
    [
        ("a.txt", "cat\n traffic light \n\n"),
        ("a.names", "\ufeffcat\r\ntraffic light"),
        ("a.json", '["cat", "traffic light"]'),
        ("a.json", '{"0": "cat", "1": "traffic light"}'),
        ("a.json", '{"names": {"1": "traffic light", "0": "cat"}, "nc": 2}'),
    ],
)
def test_files(tmp_path, file, text):
    path = tmp_path / file
    path.write_text(text, encoding="utf-8")
    assert names_from_file(path) == ("cat", "traffic light")


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("a.txt", b"\n \n", "is empty; write one name a line"),
        ("a.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("a.json", b"{", "not JSON"),
        ("a.json", b"3", "must be a list"),
        ("a.json", b'{"0": "a", "7": "b"}', r"numbers must be 0\.\.1"),
        ("a.json", b'["a", ""]', "not empty"),
        ("a.yaml", b"names: [a]", "YAML is not read"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, file, content, message):
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as error:
        names_from_file(path)
    assert str(path) in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match="No such file or directory; give a text file"):
        names_from_file(tmp_path / "absent.txt")
