"""The card beside a trained model: what it is, how it came about, how well it does."""

import json
import platform
from datetime import date
from pathlib import Path
from typing import Dict, List

import torch

from .scene import CLASSES


def processor() -> str:
    """The CPU's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def write_card(path: Path, args, runs: List[Dict], figures: Dict) -> None:
    """Write the card as JSON.

    Parameters
    ----------
    path : Path
    args : argparse.Namespace
        Of the training.
    runs : list of dict
        Settings of each invocation that took part.
    figures : dict
        What ``evaluate`` measured on the held-out scenes, and their seed.
    """
    processes = runs[-1]["processes"]
    launcher = f"torchrun --nproc-per-node {processes}" if processes > 1 else "python"
    card = {
        "architecture": f"YOLOv5, depth multiple {args.depth}, width multiple {args.width}",
        "input": [1, 3, *args.size],
        "classes": list(CLASSES),
        "training": {
            "command": f"{launcher} -m tvm_zerocopy.models.training.train",
            "seed": args.seed,
            "scenes": args.pool,
            "steps": args.steps,
            "runs": runs,
            "date": date.today().isoformat(),
            "cpu": processor(),
            "torch": torch.__version__,
        },
        "held out": {**figures, "how": "onnxruntime, letterbox, confidence 0.001, class-aware NMS at IoU 0.6"},
    }
    path.write_text(json.dumps(card, indent=2) + "\n")
    print(json.dumps(card, indent=2))
