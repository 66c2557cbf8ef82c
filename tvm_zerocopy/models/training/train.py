"""Train the embedded detector: ``python -m tvm_zerocopy.models.training.train --help``.

Several processes train one network with ``torchrun --nproc-per-node 2 -m tvm_zerocopy.models.training.train``: each
takes its own pictures and all step along their mean gradient.
"""

import argparse
import copy
import os
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import distributed

from .. import build
from .augment import batch
from .card import write_card
from .evaluate import evaluate
from .loss import yolov5_loss
from .network import YOLOv5
from .pool import draw_pool
from .scene import CLASSES

POOL_ROWS, POOL_COLUMNS = 288, 512
HELD_OUT_SEED, HELD_OUT_COUNT = 900, 400


def anchors_for(targets, rows: int, columns: int, seed: int) -> np.ndarray:
    """Nine typical box shapes in the network's pixels, by k-means on log sizes, smallest first, (3, 3, 2)."""
    sizes = np.concatenate(targets)[:, 3:5] - np.concatenate(targets)[:, 1:3]
    points = np.log(sizes * min(rows / POOL_ROWS, columns / POOL_COLUMNS))
    rng = np.random.default_rng(seed)
    means = points[rng.choice(len(points), 9, replace=False)]
    for _ in range(60):
        nearest = np.square(points[:, None] - means[None]).sum(2).argmin(1)
        means = np.stack([points[nearest == k].mean(0) if (nearest == k).any() else means[k] for k in range(9)])
    shapes = np.exp(means).round(1)
    return shapes[shapes.prod(1).argsort()].reshape(3, 3, 2)


def export(network: torch.nn.Module, rows: int, columns: int, depth: float, width: float):
    """The network as ONNX, by the same builder that builds published architectures."""
    state = {k: v.detach().float().numpy() for k, v in network.state_dict().items()}
    return build("yolov5n", state, (rows, columns), list(CLASSES), depth=depth, width=width)


def update_average(average: torch.nn.Module, network: torch.nn.Module, step: int) -> None:
    """Exponential moving average of weights; short at first, so that the start is forgotten."""
    decay = 0.9985 * (1 - np.exp(-(step + 1) / 300))
    with torch.no_grad():
        for mean, now in zip(average.state_dict().values(), network.state_dict().values()):
            if mean.dtype.is_floating_point:
                mean.lerp_(now, 1 - decay)


def arguments(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/training"), help="pools and checkpoints")
    parser.add_argument("--output", type=Path, default=Path("build/training/scenes.onnx"), help="the finished model")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pool", type=int, default=4800, help="scenes to train on")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 448), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--first-size", type=int, nargs=2, default=(192, 320), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--first-share", type=float, default=0.85, help="of the steps, on pictures of the first size")
    parser.add_argument("--depth", type=float, default=0.33)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    return parser.parse_args(argv)


def average_gradients(network: torch.nn.Module) -> None:
    """Replace each process' gradients by the mean over all processes."""
    gradients = [p.grad for p in network.parameters()]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients])):
        gradient.copy_(part.view_as(gradient))


def learning_rate(step: int, args) -> float:
    """Linear warm-up, then a cosine down to a fiftieth."""
    warm = min(1.0, (step + 1) / 150)
    return float(args.rate * warm * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * min(step / args.steps, 1.0)))))


def build_optimizer(network: torch.nn.Module, rate: float) -> torch.optim.Optimizer:
    """AdamW; biases and BatchNorm do not decay."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99))


class Trainer:
    """One training: networks, optimizer, where it stands, and by which settings it came there.

    ``average`` is the exponential moving average of ``network``: what is exported. ``runs`` lists the settings of each
    invocation that took part, for the model card.
    """

    def __init__(self, args, rank: int):
        self.args, self.rank, self.step, self.runs = args, rank, 0, []
        if rank:
            distributed.barrier()  # the first process draws, the others read
        self.pool = draw_pool(args.folder, "train", args.seed, args.pool, POOL_ROWS, POOL_COLUMNS)
        if distributed.is_initialized() and not rank:
            distributed.barrier()
        torch.manual_seed(args.seed)
        anchors = anchors_for(self.pool.targets, *args.size, args.seed)
        network = YOLOv5(len(CLASSES), args.depth, args.width, anchors, args.size)
        self.network = network.to(memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(network).eval()
        self.optimizer = build_optimizer(network, args.rate)
        if args.resume:
            self._load()
        processes = distributed.get_world_size() if distributed.is_initialized() else 1
        settings = {k: getattr(args, k) for k in ("steps", "batch", "rate", "first_size", "first_share")}
        if self.step < args.steps:
            self.runs.append({"from step": self.step, "processes": processes, **settings})

    @property
    def checkpoint(self) -> Path:
        return self.args.folder / "checkpoint.pt"

    def _load(self) -> None:
        saved = torch.load(self.checkpoint, weights_only=True)
        self.network.load_state_dict(saved["network"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.runs = saved["step"], saved["runs"]

    def save(self) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimizer")}
        partial = self.checkpoint.with_suffix(".tmp")
        torch.save({**parts, "step": self.step, "runs": self.runs}, partial)
        partial.replace(self.checkpoint)

    def take_step(self) -> torch.Tensor:
        """One batch, one step; returns the loss' parts (box, objectness, class)."""
        args, step = self.args, self.step
        rng = np.random.default_rng([args.seed, 77, step, self.rank])
        # Small pictures first: twice as many for the same arithmetic.
        size = args.first_size if step < args.first_share * args.steps else args.size
        images, targets = batch(self.pool, rng.integers(0, args.pool, args.batch), rng, *size)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, args)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            raw = self.network(images)
        loss, parts = yolov5_loss(raw, targets, self.network.model[-1].anchors)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if distributed.is_initialized():
            average_gradients(self.network)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimizer.step()
        update_average(self.average, self.network, step)
        self.step += 1
        return parts

    def run(self) -> None:
        """Train to the last step; the first process prints a line every 50 and saves every ``--every`` steps."""
        args, sums, started, first = self.args, torch.zeros(3), time.time(), self.step
        while self.step < args.steps:
            sums += self.take_step()
            if self.rank:
                continue
            if self.step % 50 == 0:
                pictures = (self.step - first) * args.batch * self.runs[-1]["processes"]
                box, obj, cls = (sums / 50).tolist()
                line = f"step {self.step}/{args.steps} box {box:.4f} obj {obj:.4f} cls {cls:.4f}"
                print(f"{line} {pictures / (time.time() - started):.1f} pictures/s", flush=True)
                sums.zero_()
            if self.step % args.every == 0 or self.step == args.steps:
                self.save()


def main(argv=None) -> None:
    args = arguments(argv)
    rank = int(os.environ.get("RANK", 0))
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    trainer = Trainer(args, rank)
    trainer.run()
    if rank:
        return
    model = export(trainer.average, *args.size, args.depth, args.width).SerializeToString()
    held_out = draw_pool(args.folder, "held-out", HELD_OUT_SEED, HELD_OUT_COUNT, POOL_ROWS, POOL_COLUMNS)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_bytes(model)
    figures = {"seed": HELD_OUT_SEED, **evaluate(model, held_out)}
    write_card(args.output.with_suffix(".json"), args, trainer.runs, figures)


if __name__ == "__main__":
    main()
