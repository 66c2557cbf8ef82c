"""Recognition of detection heads, and the kernels of decode and non-maximum suppression."""
