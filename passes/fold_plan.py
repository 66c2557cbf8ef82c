"""Which of ``main``'s convolutions take in what happens to their image, and what the image's kernel still computes."""

from dataclasses import replace
from typing import Any, Callable, Dict, Iterable, NamedTuple, Optional, Set

import numpy as np

from tvm_zerocopy.specs import Frame, Preprocess

from .channel_affine import Channels, Fold, fold_into_weights, normalized, unchanged
from .model_image import Tensor
from .preprocess_kernel import specs_of


class Convolution(NamedTuple):
    """A float32 convolution of one group with constant weights."""

    key: Any  # by which the rewriter knows it
    image: Any
    axis: int  # of the image's channels
    weight: Callable[[], np.ndarray]
    kernel_layout: str
    pads: bool


class FoldPlan:
    """The decision for all of main. A subclass for each IR reads its expressions.

    Attributes
    ----------
    folds : dict
        `Convolution.key` to `Fold`.
    kernels : dict
        Image that a preprocess kernel makes to what is left to do for it: ``preprocess_kernel``'s arguments.
    """

    def __init__(self):
        self.folds: Dict[Any, Fold] = {}
        self.kernels: Dict[Any, tuple] = {}
        made = self.made_images()
        for image, kernel in made.items():
            self._fold_kernel(image, *specs_of(kernel))
        if not self.kernels:
            sources = {image: self._as_it_is(image) for image in (*self.given_images(), *made)}
            folds = ((each.key, _fold(each, channels)) for each, channels in self._affine(sources))
            self.folds = {key: fold for key, fold in folds if fold is not None}

    # --- of an IR ---------------------------------------------------------------------------------------------------

    def given_images(self) -> Iterable[Any]:
        """Float32 parameters of ``main`` with four axes."""
        raise NotImplementedError

    def made_images(self) -> Dict[Any, Any]:
        """What preprocess kernels make, and the PrimFuncs that do."""
        raise NotImplementedError

    def convolutions(self) -> Iterable[Convolution]:
        """All that could be folded into."""
        raise NotImplementedError

    def tracer(self, sources):
        """An ``ImageTracer`` that ends at the sources: image to a function of the channel axis that gives Channels."""
        raise NotImplementedError

    def tensor(self, image) -> Tensor:
        """The type of an image."""
        raise NotImplementedError

    def read_by_others(self, values: Set[Any], folds) -> bool:
        """True if anything but each other and the folded convolutions reads one of the values."""
        raise NotImplementedError

    # --- of all -----------------------------------------------------------------------------------------------------

    def _affine(self, sources):
        """(convolution, channels) of each convolution over one of the sources."""
        tracer = self.tracer(sources)
        for each in self.convolutions():
            channels = tracer.trace(each.image, each.axis)
            if channels is not None:
                yield each, replace(channels, padded=channels.padded or each.pads)

    def _as_it_is(self, image):
        def channels(axis) -> Optional[Channels]:
            count = self.tensor(image).sides[axis]
            return unchanged(image, count) if isinstance(count, int) else None

        return channels

    def _fold_kernel(self, image, frame: Frame, spec: Preprocess) -> None:
        """Let the kernel give raw levels, if all that reads its image can take the rest."""
        own_order = "bgr" if frame.format in ("bgr8", "bgra8") else "rgb"  # what it gives without exchanging any
        bare = replace(spec, scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), channel_order=own_order)
        if bare == spec:
            return

        def channels_of(axis) -> Optional[Channels]:
            return normalized(image, spec, bare) if axis == spec.layout.find("C") else None

        affine = list(self._affine({image: channels_of}))
        folds = {each.key: _fold(each, channels) for each, channels in affine}
        on_the_way = {image}.union(*(channels.visited for _, channels in affine))
        if not folds or None in folds.values() or self.read_by_others(on_the_way, folds):
            return
        offsets = np.concatenate([fold.offset.reshape(-1, 3) for fold in folds.values()])
        if np.any(offsets != offsets[0]):
            return
        bare = replace(bare, mean=tuple(0.0 - float(offset) for offset in offsets[0]))
        if bare == spec:
            return
        made = self.tensor(image)
        height, width = (made.sides[spec.layout.index(axis)] for axis in "HW")
        self.kernels[image] = (frame, bare, height, width, made.dtype)
        self.folds = {key: replace(fold, offset=np.zeros_like(fold.offset)) for key, fold in folds.items()}


def _fold(each: Convolution, channels: Channels) -> Optional[Fold]:
    return fold_into_weights(each.weight(), each.kernel_layout, each.axis, channels)
