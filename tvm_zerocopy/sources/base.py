"""What every source is: an iterable of frames that knows their format."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Iterator, Optional, Tuple

import numpy as np

from ..specs import Frame


@dataclass(frozen=True)
class SourceFrame:
    """One frame as the decoder left it.

    Attributes
    ----------
    planes : tuple of uint8 arrays
        One array, or one a plane where ``spec.planes``; views of the decoder's memory, good until the next frame.
    spec : Frame
        Format, size and colour of exactly this frame.
    name : str
        For people: the picture's path, or the video's with the frame's number.
    decoded : av.VideoFrame or None
        What FFmpeg made ``planes`` of, for those who want it drawn.
    """

    planes: Tuple[np.ndarray, ...]
    spec: Frame
    name: str
    decoded: Optional[Any] = None


class Source:
    """Iterate to get SourceFrames; use as a context manager or call ``close``.

    Attributes
    ----------
    name : str
    still : bool
        True: every frame is a picture of its own (saved as pictures); False: frames of one moving picture.
    live : bool
        True: frames come at their own time and a late one is worth less than the newest (a camera).
    count : int or None
        How many frames there are, where that is known.
    rate : Fraction or None
        Frames a second of a moving picture.

    Iteration raises SourceError for a frame that cannot be read; frames before it have been handed out. A source whose
    ``still`` is True goes on with the next picture if it is asked again.
    """

    name: str = ""
    still: bool = False
    live: bool = False
    count: Optional[int] = None
    rate: Optional[Fraction] = None

    def __iter__(self) -> Iterator[SourceFrame]:
        raise NotImplementedError

    def close(self) -> None:
        """Give back the file or device; harmless twice."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
