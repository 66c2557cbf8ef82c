"""The meter, the choice of sensors, and the arithmetic of power and energy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_zerocopy import power
from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.power.result import Energy, integrate, power_result


class Sensor:
    """Finds the same energy in every run; remembers what is asked of it."""

    def __init__(self, name, rails, total, fails=False):
        self.name, self.energy, self.fails, self.calls = name, Energy(rails, total, 3, 2.0), fails, []

    def start(self):
        self.calls.append("start")
        if self.fails:
            raise UnsupportedError("it stopped working")

    def stop(self):
        self.calls.append("stop")
        return self.energy


def test_sensors_add_up():
    sensors = [Sensor("RAPL", {"package-0": 8.0, "package-0/core": 6.0}, 8.0), Sensor("NVML", {"A100": 12.0}, 12.0)]
    with power.sampler(sensors) as meter:
        pass
    result = meter.result(frames=40)
    assert result.mean_watts == pytest.approx(10)  # 20 J in the two seconds that both sensors ran
    assert result.rails == pytest.approx({"package-0": 4, "package-0/core": 3, "A100": 6})
    assert result.joules == pytest.approx(10 * meter.seconds) and result.seconds == meter.seconds
    assert result.joules_per_frame == pytest.approx(result.joules / 40)
    assert result.frames_per_joule == pytest.approx(40 / result.joules)
    assert (result.source, result.samples) == ("RAPL + NVML", 3)
    assert set(result.to_dict()) >= {"mean_watts", "joules_per_frame", "rails", "source"}


def test_measure_counts_the_frames_it_ran():
    ran = []
    result = power.measure(lambda: ran.append(1), seconds=0.01, sensors=[Sensor("RAPL", {}, 5.0)])
    assert result.joules_per_frame == pytest.approx(2.5 * result.seconds / len(ran)) and result.seconds >= 0.01


def test_calls_of_several_frames():
    result = power.measure(lambda: None, seconds=0, sensors=[Sensor("RAPL", {}, 5.0)], frames_a_call=10)
    assert result.joules_per_frame == pytest.approx(result.joules / 10)


def test_a_frame_longer_than_the_time_given_still_counts():
    result = power.measure(lambda: None, seconds=0, sensors=[Sensor("RAPL", {}, 5.0)])
    assert result.joules_per_frame == pytest.approx(result.joules) and result.joules > 0


def test_sensors_are_stopped_when_another_fails():
    good, bad = Sensor("RAPL", {}, 1.0), Sensor("NVML", {}, 1.0, fails=True)
    with pytest.raises(UnsupportedError, match="stopped working"), power.sampler([good, bad]):
        pass
    assert good.calls == ["start", "stop"]


def test_sensors_are_stopped_when_the_run_fails():
    sensor = Sensor("RAPL", {}, 1.0)
    with pytest.raises(KeyError), power.sampler([sensor]):
        raise KeyError
    assert sensor.calls == ["start", "stop"]


def test_too_short_to_tell():
    with pytest.raises(UnsupportedError, match="at least 1 s"):
        power_result({"RAPL": Energy({}, 0.0, 2, 0.1)}, 0.0001, 1)


def absent(name, why):
    def sensor():
        raise UnsupportedError(why)

    sensor.name = name
    return sensor


def present(name):
    def sensor():
        return name

    sensor.name = name
    return sensor


def test_a_jetson_is_read_by_tegrastats_alone():
    assert power.choose([present("tegrastats")], [present("NVML")]) == ["tegrastats"]


def test_elsewhere_every_sensor_that_works():
    others = [absent("NVML", "no driver"), present("RAPL")]
    assert power.choose([absent("tegrastats", "not a Jetson")], others) == ["RAPL"]


def test_none_says_why_for_each():
    with pytest.raises(UnsupportedError, match="no power sensor can be read here: tegrastats: a; NVML: b; RAPL: c"):
        power.choose([absent("tegrastats", "a")], [absent("NVML", "b"), absent("RAPL", "c")])


@given(
    st.lists(st.tuples(st.floats(0.01, 5), st.floats(0, 100)), min_size=1, max_size=20),
    st.floats(-3, 30),
    st.floats(0, 30),
    st.floats(0, 1),
)
def test_energy_of_a_time_is_that_of_its_parts(readings, begin, seconds, part):
    times, now = [], 0.0
    for gap, _ in readings:
        now += gap
        times.append(now)
    watts = [value for _, value in readings]
    middle, end = begin + part * seconds, begin + seconds
    whole = integrate(times, watts, begin, end)
    parts = integrate(times, watts, begin, middle) + integrate(times, watts, middle, end)
    assert whole == pytest.approx(parts, abs=1e-6)
    assert min(watts) * seconds - 1e-6 <= whole <= max(watts) * seconds + 1e-6


def test_energy_between_readings_is_linear():
    assert integrate([0.0, 2.0], [10.0, 30.0], 0.0, 2.0) == pytest.approx(40)
    assert integrate([1.0], [7.0], 0.0, 10.0) == pytest.approx(70)
