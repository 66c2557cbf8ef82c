"""Plain numpy references of what the compiled programs compute."""

from .image import preprocess

__all__ = ["preprocess"]
