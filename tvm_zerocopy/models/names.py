"""The 80 class names of the COCO detection benchmark, in the order that every published YOLO checkpoint uses."""

COCO = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
]  # fmt: skip


def class_names(classes, default_count):
    """Class names as a list: a list stays, a count becomes COCO's names (80) or numbered ones, None the default count.

    Numbered classes are called "0", "1", ... as Ultralytics calls the classes of a model without names.
    """
    if classes is None:
        classes = default_count
    if isinstance(classes, int):
        return list(COCO) if classes == len(COCO) else [str(i) for i in range(classes)]
    return [str(name) for name in classes]
