"""The audit of an artifact: what its analysis says, what a run of it does, and whether the two agree."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ArtifactError
from ..passes.copy_report import CopyReport
from .measure import StepCount, measure
from .on_cuda import count as count_on_cuda

BOUND = f"{__package__}.pipelines:bound"
USUAL = f"{__package__}.pipelines:usual"


@dataclass(frozen=True)
class Audit:
    """
    Attributes
    ----------
    analysis : CopyReport
        Made by `CopyAudit` when the artifact was compiled.
    measured : StepCount
        A bound engine, counted from outside: on the CPU by a preloaded library, on CUDA by the driver.
    usual : list of StepCount
        The usual pipeline, step by step; empty if not asked for.
    """

    analysis: CopyReport
    measured: StepCount
    usual: list

    def disagreements(self) -> list:
        """What the analysis says and the run does not bear out, one line each; empty if they agree.

        The analysis lists allocations a frame (action "allocated") and kernels that only move. Copies outside kernels
        it knows none of: in the compiled program nothing but kernels touches a tensor.
        """
        found = []
        figures = self.measured.per_frame()
        expected = self.analysis.totals()["allocated"]["count"]
        if bool(expected) != bool(figures["allocations"]):
            found.append(f"the analysis lists {expected} allocations a frame; measured: {figures['allocations']}")
        if figures["copies"]:
            found.append(
                f"the analysis lists no copy outside kernels; measured: {figures['copies']} a frame, "
                f"{figures['copied_bytes']} bytes"
            )
        return found

    def to_dict(self) -> dict:
        return {
            "analysis": self.analysis.to_dict(),
            "measured": step_dict(self.measured),
            "disagreements": self.disagreements(),
            "usual": [step_dict(step) for step in self.usual],
        }


def step_dict(step: StepCount) -> dict:
    """Figures a frame, and the places over all frames, as plain data."""
    places = [vars(place) for place in step.places]
    return {"name": step.name, "frames": step.frames, "per_frame": step.per_frame(), "places": places}


def audit(model: str, frames: int, onnx: str | None = None, usual_frames: int = 5) -> Audit:
    """Hold an artifact's analysis against a run of it.

    Parameters
    ----------
    model : str
        The artifact.
    frames : int
        Counted frames; on CUDA one is, by its graph.
    onnx : str, optional
        The model it was compiled from (or any detector): count the usual pipeline on it too.
    usual_frames : int
        Counted frames of that one, which needs no more to show its copies.

    Raises
    ------
    ArtifactError
        If the file is no artifact, or has no analysis.
    UnsupportedError
        If this machine cannot count (`measure.measure`, `on_cuda.count`).
    """
    from ..artifact import load

    engine = load(model)
    report = engine.metadata.get("copy_report")
    if report is None:
        raise ArtifactError(f"{model} has no copy report; compile it again with this version")
    if engine.runs_on_cuda:
        measured = count_on_cuda(engine)
    else:
        (measured,) = measure(BOUND, {"model": str(model)}, frames, kernels=(str(model),))
    usual = measure(USUAL, {"model": str(onnx)}, usual_frames) if onnx else []
    return Audit(CopyReport.from_dict(report), measured, usual)
