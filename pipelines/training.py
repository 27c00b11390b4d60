"""The pipeline `training`: from a STAC catalog and a reference map to a model and its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from pipelines.graph import Pipeline, Tasks, output


def _training(task: Tasks) -> Mapping[str, Any]:
    """Search, acquire, composite, label, patch, train and evaluate: a model and its report."""
    found = task("search", {"catalog": task.place("catalog")})
    acquired = task("acquire", {"catalog": output(found, "scenes_list")})
    composite = output(task("composite", {"scenes": output(acquired, "scenes")}), "composite")
    labels = output(task("label", {"composite": composite, "source": task.identify("labels")}), "labels")
    patches = output(task("patch", {"composite": composite, "labels": labels}), "patches")
    model = output(task("train", {"patches": patches}), "model")
    evaluated = task("evaluate", {"model": model, "patches": patches})
    return {
        "composite": composite.location,
        "labels": labels.location,
        "patches": patches.location,
        "model": model.location,
        "report": output(evaluated, "report").location,
        "metrics": evaluated.outputs["report_metrics"],
        "page": evaluated.outputs["report_page"],
    }


TRAINING = Pipeline(
    name="training",
    body=_training,
    inputs={"catalog": str, "labels": str},
    components=("search", "acquire", "composite", "label", "patch", "train", "evaluate"),
    outputs={
        **dict.fromkeys(("composite", "labels", "patches", "model", "report"), str),
        "metrics": dsl.Metrics,
        "page": dsl.HTML,
    },
)
