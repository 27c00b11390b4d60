"""The pipeline `inference`: a map of every new scene, and one STAC collection of all of them.

The loop over scenes stands in a pipeline of its own within the pipeline: there, what each branch needs of earlier
tasks comes in as parameters. Kubeflow's local runner hands a loop's item to a branch in place of whatever the loop
takes from another task directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from pipelines.graph import Pipeline, Placed, Tasks, output

_OWN = {
    "acquire_ids": "each branch acquires one scene",
    "composite_periods": "each branch has one scene; a model of several periods maps their composite by predict",
}
_COMPONENTS = ("acquire", "composite", "predict", "publish")  # of a branch, and what follows


def _inference(task: Tasks) -> Mapping[str, Any]:
    """Search, then acquire, composite and predict each scene by itself, and publish the maps."""
    found = task("search", {"catalog": task.place("catalog")})
    scenes, model = output(found, "scenes_list"), task.identify("model")
    mapped = task.nested(
        BRANCHES,
        {
            "scenes_list": scenes.location,
            "scenes_list_digest": scenes.digest,
            "ids": found.outputs["scenes_list_ids"],
            "model": model.location,
            "model_digest": model.digest,
        },
    )
    return {name: mapped.outputs[name] for name in BRANCHES.outputs}


def _branches(task: Tasks) -> Mapping[str, Any]:
    """Acquire, composite and predict each scene by itself, and publish the maps."""
    scenes = Placed(task.given["scenes_list"], task.given["scenes_list_digest"])
    model = Placed(task.given["model"], task.given["model_digest"])
    with dsl.ParallelFor(task.given["ids"], parallelism=task.cluster.branches) as scene:
        acquired = task("acquire", {"catalog": scenes}, {"ids": scene})
        composite = output(task("composite", {"scenes": output(acquired, "scenes")}), "composite")
        predicted = task("predict", {"model": model, "composite": composite})
    maps = Placed(dsl.Collected(predicted.outputs["map_location"]), dsl.Collected(predicted.outputs["map_digest"]))
    published = task("publish", {"maps": maps})
    return {
        "collection": output(published, "collection").location,
        "maps": dsl.Collected(predicted.outputs["map_location"]),  # anew: the compiler alters those it has seen
        "metrics": dsl.Collected(predicted.outputs["map_metrics"]),
        "pages": dsl.Collected(predicted.outputs["map_page"]),
    }


_OUTPUTS = {"collection": str, "maps": list, "metrics": list[dsl.Metrics], "pages": list[dsl.HTML]}

BRANCHES = Pipeline(
    name="branches",
    body=_branches,
    inputs={"scenes_list": str, "scenes_list_digest": str, "ids": list, "model": str, "model_digest": str},
    components=_COMPONENTS,
    outputs=_OUTPUTS,
    own=_OWN,
)
INFERENCE = Pipeline(
    name="inference",
    body=_inference,
    inputs={"catalog": str, "model": str},
    components=("search", *_COMPONENTS),
    outputs=_OUTPUTS,
    within=(BRANCHES,),
    own=_OWN,
)
