"""Every error a user can meet. Each message says what was wrong and what would be right, in one line."""

import builtins


class ZeroCopyError(Exception):
    """Base of all errors raised on purpose by this package; the command line prints it as one line and exits 1."""


class SpecError(ZeroCopyError, ValueError):
    """A Frame, Preprocess or Nms that contradicts itself or the model."""


class ModelError(ZeroCopyError, ValueError):
    """A model that cannot be read, imported or recognized."""


class FrameError(ZeroCopyError, ValueError):
    """A frame whose dtype, shape, strides, alignment or device is not what the engine was compiled for."""


class BufferError(ZeroCopyError, ValueError, builtins.BufferError):
    """An external buffer that cannot be wrapped or bound as asked (a builtin BufferError too, as DLPack demands)."""


class ArtifactError(ZeroCopyError, RuntimeError):
    """A compiled artifact that is corrupt, foreign or built by another version."""


class SourceError(ZeroCopyError, RuntimeError):
    """A picture, video, camera or raw file that cannot be opened or decoded."""


class UnsupportedError(ZeroCopyError, RuntimeError):
    """Something this TVM build, machine or installation cannot do; the message names the mend."""


class ZeroCopyWarning(UserWarning):
    """Something the user may not have meant; work goes on."""
