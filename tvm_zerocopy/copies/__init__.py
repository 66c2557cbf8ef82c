"""Allocations and copies a frame: counted at run time from outside the program, and compared with its analysis."""
