"""Compiling and running detectors with TVM builds that have Relay: the twins of what needs Relax elsewhere."""
