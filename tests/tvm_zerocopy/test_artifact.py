"""One file that runs with TVM's runtime alone, and that is refused unless every byte of it is as it was written."""

import json
import os
import shutil
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import small_program
from hypothesis import given, settings
from hypothesis import strategies as st
from relax_road import small_engine

from tvm_zerocopy import runtime
from tvm_zerocopy.artifact import FOOTER, load, read_artifact
from tvm_zerocopy.errors import ArtifactError, UnsupportedError

FRAMES = np.random.default_rng(0).integers(0, 255, (2, 3, 5, 3), dtype=np.uint8)

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="export links with a C compiler")


@pytest.fixture(scope="module")
def engine():
    return small_engine()


@pytest.fixture(scope="module")
def artifact(engine, tmp_path_factory):
    return engine.export(tmp_path_factory.mktemp("artifact") / "detector.so")


class Content(bytes):
    """An artifact's bytes, which a failing test shall not print."""

    def __repr__(self):
        return f"<{len(self)} bytes>"


@pytest.fixture(scope="module")
def content(artifact):
    return Content(artifact.read_bytes())


def same(first, second):
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.scores, b.scores)
        np.testing.assert_array_equal(a.classes, b.classes)


def refused(path, message, error=ArtifactError):
    with pytest.raises(error, match=message) as raised:
        load(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_loaded_engine_is_the_same_engine(engine, artifact):
    loaded = load(artifact)
    same(loaded(FRAMES), engine(FRAMES))
    assert (loaded.frame, loaded.preprocess, loaded.postprocess) == (
        engine.frame,
        engine.preprocess,
        engine.postprocess,
    )
    assert loaded.names == engine.names and loaded.target == engine.target
    assert loaded.program == engine.program
    bound = loaded.bind(input=FRAMES)
    bound.run()
    same(bound.detections(), engine(FRAMES))


def test_weights_are_read_in_the_mapped_file(artifact):
    weights = load(artifact).weights
    assert weights.address % 4096 == 0 and not weights.writable
    with open("/proc/self/maps", encoding="utf-8") as maps:
        ranges = [(*(int(end, 16) for end in line.split()[0].split("-")), line) for line in maps]
    (mapping,) = [line for low, high, line in ranges if low <= weights.address < high]
    assert str(artifact) in mapping


def test_a_loaded_engine_exports_itself(artifact, tmp_path):
    copy = load(artifact).export(tmp_path / "copy.so")
    assert copy.read_bytes() == artifact.read_bytes()


@pytest.mark.parametrize("name", ["detector", "detector.bin", "über detector.so"])
def test_any_file_name_will_do(content, tmp_path, name, engine):
    path = tmp_path / name
    path.write_bytes(content)
    same(load(path)(FRAMES), engine(FRAMES))


def test_it_runs_without_tvms_compiler(artifact, tmp_path):
    """In a fresh process: neither the ``tvm`` package nor its compiler's library nor PyTorch is there."""
    np.save(tmp_path / "frames.npy", FRAMES)
    script = """
        import sys
        sys.modules["torch"] = None
        import numpy as np
        import tvm_zerocopy as tz
        found = tz.load(sys.argv[1])(np.load(sys.argv[2]))
        print([len(detections) for detections in found])
        assert "tvm" not in sys.modules, "tvm was imported"
        assert "libtvm_compiler" not in open("/proc/self/maps").read()
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(artifact), str(tmp_path / "frames.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[4, 4]"), done.stderr


# --- what is refused --------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_found(content, tmp_path_factory, data):
    place = data.draw(st.one_of(st.integers(0, len(content) - 1), st.integers(len(content) - 400, len(content) - 1)))
    damaged = bytearray(content)
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("flip") / "detector.so"
    path.write_bytes(damaged)
    refused(path, "is damaged|without tvm-zerocopy's footer|has artifact format")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_truncation_is_found(content, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "detector.so"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    refused(path, "was cut off|without tvm-zerocopy's footer")


def test_missing_foreign_and_impossible_files(artifact, tmp_path):
    refused(tmp_path / "none.so", "cannot be read: No such file")
    refused(tmp_path, "cannot be read: Is a directory")
    foreign = tmp_path / "foreign.so"
    shutil.copy(sys.modules["numpy"]._core._multiarray_umath.__file__, foreign)
    refused(foreign, "is a shared library without tvm-zerocopy's footer: foreign")
    text = tmp_path / "text.so"
    text.write_text("x" * 1000)
    refused(text, "is a file without tvm-zerocopy's footer")
    (tmp_path / "empty.so").write_bytes(b"")
    refused(tmp_path / "empty.so", "has 0 bytes")


def signed(content, change=None, machine=None, layout=1):
    """The artifact with other metadata, ELF machine or format, and a digest that matches."""
    import hashlib

    end = len(content) - FOOTER.size
    fields = list(FOOTER.unpack_from(content, end))
    metadata = json.loads(content[fields[4] : fields[4] + fields[5]])
    (change or (lambda metadata: None))(metadata)
    text = json.dumps(metadata).encode()
    body = bytearray(content[: fields[4]] + text)
    if machine is not None:
        struct.pack_into("<H", body, 18, machine)
    fields[0], fields[5], fields[6] = layout, len(text), bytes(32)
    fields[6] = hashlib.sha256(bytes(body) + FOOTER.pack(*fields)).digest()
    return bytes(body) + FOOTER.pack(*fields)


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda c: signed(c, lambda m: m["versions"].update(tvm="0.31.2")),
            r"was compiled with TVM 0\.31\.2; 0\.27\.\S+ is installed",
        ),
        (lambda c: signed(c, lambda m: m["versions"].update(tvm_ffi="0.9.0")), "was compiled with tvm-ffi 0.9.0"),
        (
            lambda c: signed(c, lambda m: m.update(cpu_flags=["fpu_of_tomorrow"])),
            "CPU with fpu_of_tomorrow, which this",
        ),
        (lambda c: signed(c, machine=183), "was compiled for aarch64; this machine is x86_64"),
        (lambda c: signed(c, machine=243), "was compiled for ELF machine 243"),
        (lambda c: signed(c, layout=2), "has artifact format 2; this version reads format 1"),
    ],
)
@pytest.mark.skipif(runtime.elf_machine() != 62, reason="the messages are x86_64's")
def test_an_artifact_for_something_else_is_refused(content, tmp_path, make, message):
    path = tmp_path / "other.so"
    path.write_bytes(make(content))
    refused(path, message)


def without(*names):
    def change(metadata):
        for name in names:
            del metadata[name]

    return change


def with_a_field_of_the_future(metadata):
    metadata["frame"] = json.dumps({**json.loads(metadata["frame"]), "colour_filter": "rggb"})


@pytest.mark.parametrize(
    "change", [without("versions"), without("cpu_flags"), without("program"), with_a_field_of_the_future]
)
def test_an_artifact_of_another_version_of_this_package_is_refused(content, tmp_path, change):
    path = tmp_path / "detector.so"
    path.write_bytes(signed(content, change))
    refused(path, "was written by another version of tvm-zerocopy .*compile the model again")


def test_a_patch_release_of_tvm_is_no_reason_to_refuse(content, tmp_path):
    path = tmp_path / "patch.so"
    path.write_bytes(signed(content, lambda m: m["versions"].update(tvm=runtime.release(m["versions"]["tvm"]) + ".99")))
    load(path)


def test_an_intact_file_that_cannot_be_linked_is_refused(content, tmp_path):
    """A library that needs what is not there: the loader's reason, in one line."""
    (tmp_path / "missing.c").write_text("extern int nowhere_defined(void); int f(void) { return nowhere_defined(); }")
    library = tmp_path / "broken.so"
    source = str(tmp_path / "missing.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wl,-z,now", "-o", str(library), source], check=True)
    import hashlib

    end = len(content) - FOOTER.size
    fields = list(FOOTER.unpack_from(content, end))
    metadata = content[fields[4] : fields[4] + fields[5]]
    body = library.read_bytes()
    fields[2:7] = [len(body), 0, len(body), len(metadata), bytes(32)]
    body += metadata
    fields[6] = hashlib.sha256(body + FOOTER.pack(*fields)).digest()
    path = tmp_path / "detector.so"
    path.write_bytes(body + FOOTER.pack(*fields))
    refused(path, "is intact but cannot be loaded .*nowhere_defined")


# --- writing ----------------------------------------------------------------------------------------------------------


def test_writing_is_all_or_nothing(engine, content, tmp_path, monkeypatch):
    path = tmp_path / "detector.so"
    path.write_bytes(b"the old one")

    def fail(_source, _destination):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ArtifactError, match="cannot be written: No space left on device"):
        engine.export(path)
    assert [file.name for file in tmp_path.iterdir()] == ["detector.so"]
    assert path.read_bytes() == b"the old one"


def test_a_missing_folder_is_named(engine, tmp_path):
    with pytest.raises(ArtifactError, match="nowhere is no folder; create it first"):
        engine.export(tmp_path / "nowhere" / "detector.so")


def test_a_missing_compiler_is_named_with_the_mend(engine, tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="finds none; apt install g"):
        engine.export(tmp_path / "detector.so")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UnsupportedError, match="links with no-such-compiler, which is not installed; apt install g"):
        engine.export(tmp_path / "detector.so")


def test_replacing_a_loaded_artifact_leaves_its_engine_alone(engine, content, tmp_path):
    path = tmp_path / "detector.so"
    path.write_bytes(content)
    loaded = load(path)
    engine.export(path)
    same(loaded(FRAMES), load(path)(FRAMES))


def test_reading_executes_nothing(content, tmp_path):
    path = tmp_path / "detector.so"
    path.write_bytes(content)
    parts = read_artifact(path)
    assert parts.metadata["names"] == small_program.NAMES
    with open("/proc/self/maps", encoding="utf-8") as maps:
        assert not [line for line in maps if str(path) in line and "x" in line.split()[1]]
