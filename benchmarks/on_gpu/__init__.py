"""The parts of ``benchmarks/gpu.py``: what is run, what is checked, how it is timed, and PyTorch's side of it."""
