import functools

import pytest
from hypothesis import HealthCheck, settings

# A busy or stopped machine is no reason to fail: no test is timed, hypothesis' examples neither.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

CONF = 1e-4  # random weights score low; some boxes must be left


@pytest.fixture(scope="session")
def small_detector(tmp_path_factory):
    """(ONNX file, artifact): YOLOv5n of 64 x 64 pixels, three classes, random weights; bgr8 frames of 80 x 48."""
    import onnx  # here: the tests for TVM builds with Relay run without it

    import tvm_zerocopy as tz
    from tvm_zerocopy import models

    folder = tmp_path_factory.mktemp("small_detector")
    onnx.save(models.build("yolov5n", size=64, classes=3), str(folder / "small.onnx"))
    engine = tz.compile(str(folder / "small.onnx"), frame=tz.Frame("bgr8", 48, 80), postprocess=tz.Nms(conf=CONF))
    engine.export(str(folder / "small.so"))
    return str(folder / "small.onnx"), str(folder / "small.so")


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda12") and not knows_sm_72():
        pytest.skip("no CUDA compiler that knows sm_72: pip install 'tvm-zerocopy[cuda12]'")


@functools.lru_cache(maxsize=None)
def knows_sm_72():
    from tvm_zerocopy.cuda_toolchain import installed

    return any(72 in toolchain.archs for toolchain in installed()[0])
