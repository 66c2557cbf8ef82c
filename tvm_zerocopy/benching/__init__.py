"""What ``tvm-zerocopy bench`` is made of: the race, stages, layers, comparison, plots and the report page."""
