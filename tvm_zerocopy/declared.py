"""What the user declares to ``compile``, checked and completed from the model."""

import warnings
from typing import Callable, Optional

from .class_names import parse_names
from .errors import SpecError, ZeroCopyError, ZeroCopyWarning
from .frontend import ImportedModel
from .passes.detection_head.recognize import Head
from .specs import Frame, Nms, Preprocess


def default_preprocess(head: Optional[Head], layout: str) -> Preprocess:
    """The preprocessing that models with this head were trained with."""
    if head is not None and head.name == "yolox":
        return Preprocess.yolox(layout=layout)
    return Preprocess(layout=layout)


def class_names(given, imported: ImportedModel, head: Optional[Head], postprocess: Optional[Nms]):
    """The names that the engine's detections carry: the user's, or the model's own if they fit it.

    Raises
    ------
    SpecError
        If the user's are not one for each class.
    """
    names = parse_names(given) if given is not None else imported.class_names
    known = head.classes if head is not None else 0  # 0: the shape does not tell
    if names is not None and known and len(names) != known:
        if given is not None:
            raise SpecError(f"there are {len(names)} class names and the model has {known} classes; give one for each")
        problem, names = f"names {len(names)} classes and has {known}", None
    else:
        problem = "does not name its classes"
    if names is None and postprocess is not None:
        text = f"model {imported.name} {problem}; detections carry class numbers (give names=[...] or --names FILE)"
        warnings.warn(text, ZeroCopyWarning, stacklevel=4)
    return names


def checked(frame: Optional[Frame], preprocess: Optional[Preprocess], postprocess: Optional[Nms]) -> Frame:
    """The frame, ``Frame()`` if none is given; each must be the specification that its name says or None.

    Raises
    ------
    SpecError
        If one is something else.
    """
    for name, value, kind in (
        ("frame", frame, Frame),
        ("preprocess", preprocess, Preprocess),
        ("postprocess", postprocess, Nms),
    ):
        if value is not None and not isinstance(value, kind):
            raise SpecError(f"{name} is {value!r}; it must be a tvm_zerocopy.{kind.__name__}")
    return frame if frame is not None else Frame()


def detection_head(recognize: Callable, imported: ImportedModel, postprocess: Optional[Nms]) -> Optional[Head]:
    """The model's head by ``recognize(module, name)``; None if it has none and none is needed."""
    if postprocess is not None:
        return recognize(imported.module, postprocess.head)
    try:
        return recognize(imported.module, None)
    except ZeroCopyError:
        return None
