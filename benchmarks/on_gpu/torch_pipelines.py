"""PyTorch's side: frame to boxes in the ways its users make fast, each checked to do the same work.

cuDNN with its autotuner, channels_last, CUDA graphs, ``torch.compile`` of the network and of everything from the frame
on. Weights are float16 where this project's are; in float32, TF32 is off: it keeps 11 bits. NMS is torchvision's, which
waits for the host to learn how many boxes are left, or one of fixed sizes, which a graph can hold.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import torch
from torch.nn import functional

from on_gpu.torch_network import network
from on_gpu.work import Work
from tvm_zerocopy.color import SHIFT, yuv_matrix
from tvm_zerocopy.geometry import letterbox

CANDIDATES = 1024  # that enter the NMS of fixed sizes
ROUNDS = 8  # of it; `settled` says whether they were enough
WARM_UP = 3  # runs before a graph is captured: cuDNN chooses, torch.compile compiles
ONE = float(1 << SHIFT)  # of colour coefficients

try:
    from torchvision.ops import batched_nms
except (ImportError, RuntimeError):  # the latter: built for another torch
    batched_nms = None


class Detected(NamedTuple):
    """Rows of ``boxes`` (xyxy in frame pixels) with a score above 0 are detections, best first; ``settled``: a boolean
    tensor, or None where nothing was bounded."""

    boxes: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor
    settled: torch.Tensor | None = None


class Way(NamedTuple):
    """One way to run: ``make()`` compiles and captures, and gives a callable without arguments."""

    name: str
    make: Callable


class Pipelines:
    """All ways for one work.

    Parameters
    ----------
    work : Work
    mode : str
        Of ``torch.compile``, one without graphs: they are captured here.
    device : str
        "cuda"; on "cpu" nothing is captured (for tests).
    """

    def __init__(self, work: Work, mode: str, device: str = "cuda"):
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self.work, self.nms, self.device, self._mode = work, work.nms, device, mode
        self.dtype = torch.float16 if work.precision == "float16" else torch.float32
        self.network = network(work.model, self.dtype).to(device)
        frame = work.frame
        self._matrix = yuv_matrix(frame.matrix, frame.range)
        self._geometry = g = letterbox(frame.height, frame.width, *work.input_size, work.preprocess)
        height, width = work.input_size
        self._edges = [g.left, width - g.new_width - g.left, g.top, height - g.new_height - g.top]
        # tensors made here, once: a graph that is being captured must not copy from the host
        spec = work.preprocess
        normalization = [[spec.scale / s for s in spec.std], [-m / s for m, s in zip(spec.mean, spec.std)]]
        self._factor, self._shift = torch.tensor(normalization, device=device).view(2, 1, 3, 1, 1)
        corners = [[g.left, g.top] * 2, [g.scale_x, g.scale_y] * 2, [frame.width, frame.height] * 2]
        self._origin, self._scale, self._most = torch.tensor(corners, dtype=torch.float32, device=device)
        self.frame = torch.zeros(frame.shapes(frame.height, frame.width)[0], dtype=torch.uint8, device=device)
        self.pinned = torch.zeros_like(self.frame, device="cpu", pin_memory=device == "cuda")
        self._image = self.preprocess(self.frame)
        self.stream = None
        if device != "cpu":
            self.stream = torch.cuda.Stream()
            torch.cuda.synchronize()
            torch.cuda.set_stream(self.stream)

    @property
    def handle(self) -> int:
        """Of the stream that everything runs on."""
        return self.stream.cuda_stream if self.stream is not None else 0

    # --- what is run ------------------------------------------------------------------------------------------------

    def preprocess(self, frame: torch.Tensor) -> torch.Tensor:
        """An nv12 frame as the network's image: within one level of this project's."""
        height, width = self.work.frame.height, self.work.frame.width
        m, g = self._matrix, self._geometry
        luma = (frame[:height].float() - m.offset).clamp(min=0) * (m.y / ONE)
        chroma = frame[height:].view(1, height // 2, width // 2, 2).permute(0, 3, 1, 2).float() - 128
        u, v = functional.interpolate(chroma, scale_factor=2, mode="nearest")[0]
        levels = [luma + v * (m.rv / ONE), luma + u * (m.gu / ONE) + v * (m.gv / ONE), luma + u * (m.bu / ONE)]
        size = (g.new_height, g.new_width)
        rgb = torch.stack(levels).clamp(0, 255)
        picture = functional.interpolate(rgb[None], size, mode="bilinear", align_corners=False)
        padded = functional.pad(picture, self._edges, value=float(self.work.preprocess.pad_value))
        return (padded * self._factor + self._shift).to(self.dtype, memory_format=torch.channels_last)

    def predictions(self, frame: torch.Tensor):
        """Boxes (n, 4) in the input's pixels, each one's best score (0 where not above the threshold) and its class."""
        raw = self.network(self.preprocess(frame))[0].float()
        objectness = self.work.head == "yolov5"
        rows = raw if objectness else raw.T
        scores, classes = rows[:, 5 if objectness else 4 :].max(1)
        scores = scores * rows[:, 4] if objectness else scores
        half = rows[:, 2:4] / 2
        boxes = torch.cat([rows[:, :2] - half, rows[:, :2] + half], 1)
        return boxes, torch.where(scores > self.nms.conf, scores, 0), classes

    def suppress(self, boxes, scores, classes) -> Detected:
        """torchvision's NMS, of as many boxes as there are."""
        boxes, scores, classes = (each[scores > 0] for each in (boxes, scores, classes))
        keep = batched_nms(boxes, scores, classes, self.nms.iou)[: self.nms.max_det]
        return Detected(self._in_frame(boxes[keep]), scores[keep], classes[keep])

    def suppress_in_place(self, boxes, scores, classes) -> Detected:
        """The same with fixed sizes: a box goes if a better one that stays overlaps it; until nothing changes."""
        count = len(scores)
        scores, order = scores.topk(min(CANDIDATES + 1, count))
        boxes, classes = boxes[order], classes[order]
        low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        inter = (high - low).clamp(min=0).prod(2)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        over = inter > self.nms.iou * (area[:, None] + area[None] - inter)
        drops = (over & (classes[:, None] == classes[None])).triu(1).to(self.dtype)
        alive = stays = before = scores > 0
        for _ in range(ROUNDS):
            before, stays = stays, alive & ((stays.to(self.dtype) @ drops) == 0)
        settled = (before == stays).all()
        if count > CANDIDATES:
            settled = settled & (scores[-1] == 0)
        scores, kept = torch.where(stays, scores, 0).topk(min(self.nms.max_det, len(scores)))
        return Detected(self._in_frame(boxes[kept]), scores, classes[kept], settled)

    def _in_frame(self, boxes):
        return ((boxes - self._origin) / self._scale).clamp(min=0).minimum(self._most)

    # --- how --------------------------------------------------------------------------------------------------------

    def network_ways(self) -> list[Way]:
        """Image in device memory to raw output."""

        def contiguous():
            module = network(self.work.model, self.dtype, torch.contiguous_format).to(self.device)
            image = self._image.contiguous()
            return self.captured(lambda: module(image))

        compiled = self._compiled(self.network)
        return [
            Way("launched", lambda: lambda: self.network(self._image)),
            Way("graph", lambda: self.captured(lambda: self.network(self._image))),
            Way("graph, NCHW", contiguous),
            Way("compiled, graph", lambda: self.captured(lambda: compiled(self._image))),
        ]

    def whole_ways(self, pinned: bool) -> list[Way]:
        """Frame to boxes, or to logits; ``pinned``: from pinned host memory, with its copy to the device."""

        def from_memory(function):
            def whole():
                if pinned:
                    self.frame.copy_(self.pinned, non_blocking=True)
                return function(self.frame)

            return whole

        def then_suppress(predict):
            return lambda: self.suppress(*predict())

        if not self.work.detects:
            logits = lambda frame: self.network(self.preprocess(frame))  # noqa: E731
            parts, compiled = from_memory(logits), from_memory(self._compiled(logits))
            return [
                Way("launched", lambda: parts),
                Way("graph", lambda: self.captured(parts)),
                Way("compiled, graph", lambda: self.captured(compiled)),
            ]
        inside = lambda frame: self.suppress_in_place(*self.predictions(frame))  # noqa: E731
        launched, compiled = from_memory(self.predictions), from_memory(self._compiled(self.predictions))
        ways = [
            Way("graph, NMS inside", lambda: self.captured(from_memory(inside))),
            Way("compiled, graph, NMS inside", lambda: self.captured(from_memory(self._compiled(inside)))),
        ]
        if batched_nms is None:
            return ways
        return [
            Way("launched", lambda: then_suppress(launched)),
            Way("graph", lambda: then_suppress(self.captured(launched))),
            Way("compiled, graph", lambda: then_suppress(self.captured(compiled))),
            *ways,
        ]

    def _compiled(self, function):
        return torch.compile(function, mode=self._mode)

    def captured(self, function: Callable) -> Callable:
        """The function's kernels as a CUDA graph: a callable that replays it and gives the same tensors each time."""
        if self.device == "cpu":
            return function
        for _ in range(WARM_UP):
            function()
        self.stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            result = function()

        def replay():
            graph.replay()
            return result

        return replay
