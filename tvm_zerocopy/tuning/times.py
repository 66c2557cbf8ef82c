"""What a candidate's measurements say."""

# MetaSchedule stores 1e10 seconds for a candidate that failed to build or run (database.cc, kMaxMeanTime), AutoTVM 1e9.
FAILED_SECONDS = 1e10
FAILED = FAILED_SECONDS / 10  # anything near it


def median(times) -> float:
    """The median of a candidate's repeats in seconds; infinite if it failed."""
    times = sorted(float(t) for t in times)
    if not times or times[-1] >= FAILED:
        return float("inf")
    middle = len(times) // 2
    return times[middle] if len(times) % 2 else (times[middle - 1] + times[middle]) / 2
