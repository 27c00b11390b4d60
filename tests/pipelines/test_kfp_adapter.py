"""A component as Kubeflow's tasks run it: what it answers, where it puts things, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components import artifacts
from components.errors import GeoductError
from components.kubeflow import WORK, decode, encode, execute, kfp_type, task_inputs, task_outputs
from components.registry import COMPONENTS, load
from components.simulate import simulate
from tests.components.predict import scenes
from tests.components.publish.maps import make_map
from tests.makers import labelmap

JOB = "job-1"


class Task:
    """A task as Kubeflow starts it: its executor input, and the files that it is to write."""

    def __init__(self, folder: Path, component: str, root: Path, **given: Any) -> None:
        spec = load(component).spec
        values, files = task_outputs(spec)
        defaults = {p.name: encode(p, p.default) for p in spec.parameters}
        self.component = component
        self.answer = folder / "out" / "executor_output.json"
        self.files = {name: folder / "out" / "deep" / name for name in files}
        self.message = {
            "inputs": {
                "parameterValues": {**dict.fromkeys(task_inputs(spec), ""), **defaults, "root": str(root), **given}
            },
            "outputs": {
                "outputFile": str(self.answer),
                "parameters": {name: {"outputFile": str(folder / "out" / name)} for name in values},
                "artifacts": {name: {"artifacts": [{"name": name, "uri": f"minio://bucket/{name}"}]} for name in files},
            },
        }

    def run(self, job: str = JOB) -> dict[str, Any]:
        """Run it and return the values that it answers."""
        files = [f"{name}={path}" for name, path in self.files.items()]
        execute([self.component, json.dumps(self.message), job, *files])
        return dict(json.loads(self.answer.read_text())["parameterValues"])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dates of 128 x 128 pixels."""
    path = tmp_path_factory.mktemp("archive") / "archive"
    simulate(archive=path, size=128, dates=2, seed=0)
    return path


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_parameter_survives_the_way_through_kubeflow(component: str) -> None:
    for parameter in load(component).spec.parameters:
        carried = encode(parameter, parameter.default)
        assert isinstance(carried, kfp_type(parameter))
        # A cluster's numbers are all floats.
        assert decode(parameter, json.loads(json.dumps(carried), parse_int=float)) == parameter.default


def test_what_may_be_none_is_text_and_lists_in_it_are_json() -> None:
    acquire = {p.name: p for p in load("acquire").spec.parameters}
    box = (-22.2, 64.45, -21.2, 64.85)
    assert encode(acquire["bbox"], box) == "[-22.2, 64.45, -21.2, 64.85]"
    assert decode(acquire["bbox"], encode(acquire["bbox"], box)) == box
    assert decode(acquire["ids"], "S2A_1") == ("S2A_1",)
    assert decode(acquire["max_scenes"], encode(acquire["max_scenes"], 5)) == 5
    assert decode(acquire["start"], encode(acquire["start"], "2022-06-01")) == "2022-06-01"
    for name, carried in {"bbox": "[1,", "max_scenes": "many", "max_cloud": 101.0}.items():
        with pytest.raises(GeoductError, match=f"--{name.replace('_', '-')} is .*; expected"):
            decode(acquire[name], carried)


def test_a_chain_of_tasks_gives_the_very_artifacts_of_the_command_line(archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    found = Task(tmp_path / "1", "search", root, catalog=str(archive)).run()
    catalog, digest = found["scenes_list_location"], found["scenes_list_digest"]
    acquired = Task(tmp_path / "2", "acquire", root, catalog=catalog, catalog_digest=digest).run()
    place, digest = acquired["scenes_location"], acquired["scenes_digest"]
    composed = Task(tmp_path / "3", "composite", root, scenes=place, scenes_digest=digest, dilation=1.0).run()

    load("acquire").run({"catalog": archive, "scenes": tmp_path / "scenes"})
    load("composite").run({"scenes": tmp_path / "scenes", "composite": tmp_path / "composite", "dilation": 1})
    expected = artifacts.Composite.open(tmp_path / "composite")
    made = artifacts.Composite.open(composed["composite_location"])
    assert made.digest == expected.digest == composed["composite_digest"]
    assert made.path.name == f"composite-{made.digest[7:19]}"
    assert made.provenance["parameters"]["dilation"] == 1
    assert len(found["scenes_list_ids"]) == 2
    made.verify()
    assert not list((root / WORK).iterdir())


def test_kubeflow_is_told_of_manifest_scores_and_page(tmp_path: Path) -> None:
    model = scenes.model(tmp_path / "model", constant=True)
    composite = scenes.composite(tmp_path / "composite", scenes.scene(40, 48))
    task = Task(tmp_path, "predict", tmp_path, model=str(model.path), composite=str(composite.path))
    values = task.run()
    answered = json.loads(task.answer.read_text())["artifacts"]
    assert {n: a["artifacts"][0]["uri"] for n, a in answered.items()} == {n: f"minio://bucket/{n}" for n in task.files}
    manifest = {"kind": "Map", "location": values["map_location"], "digest": values["map_digest"]}
    assert json.loads(task.files["map"].read_text()) == answered["map"]["artifacts"][0]["metadata"] == manifest
    # The model's answer is the last of three classes, whose logits are 0, 0.5 and 1, wherever it looks.
    scores = answered["map_metrics"]["artifacts"][0]["metadata"]
    assert scores == {"mapped": 1.0, "confidence": pytest.approx(0.506, abs=0.006), "share.class 3": 1.0}
    assert json.loads(task.files["map_metrics"].read_text()) == scores
    page = task.files["map_page"].read_text()
    assert "100.0 %" in page and "class 3" in page and "data:image/png;base64," in page


def test_several_maps_are_put_in_one_folder(tmp_path: Path) -> None:
    maps = [make_map(tmp_path / name, name * 64, month) for month, name in enumerate("ab", 5)]
    places, digests = [str(m.path) for m in maps], [m.digest for m in maps]
    values = Task(tmp_path, "publish", tmp_path / "root", maps=places, maps_digest=digests).run()
    collection = artifacts.MapCollection.open(values["collection_location"])
    assert [item.id for item in collection.items] == ["map-mmmmmmmm-aaaaaaaa", "map-mmmmmmmm-bbbbbbbb"]
    assert [m.path.exists() for m in maps] == [True, True]


def test_the_same_contents_are_kept_once(archive: Path, tmp_path: Path) -> None:
    first = Task(tmp_path / "1", "search", tmp_path / "root", catalog=str(archive)).run()
    written = (Path(first["scenes_list_location"]) / "geoduct.json").stat().st_mtime_ns
    assert Task(tmp_path / "2", "search", tmp_path / "root", catalog=str(archive)).run("job-2") == first
    assert (Path(first["scenes_list_location"]) / "geoduct.json").stat().st_mtime_ns == written
    other = Task(tmp_path / "3", "search", tmp_path / "root", catalog=str(archive), max_scenes="1").run()
    assert other["scenes_list_location"] != first["scenes_list_location"]


def test_contents_that_changed_since_are_refused(archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    task = Task(tmp_path, "acquire", root, catalog=str(archive), catalog_digest="sha256:" + "0" * 64)
    with pytest.raises(GeoductError, match="no longer holds what this run was to read"):
        task.run()
    assert not task.answer.exists() and not list((root).glob("*/*"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["labl", "{}", JOB], "there is no component 'labl'; did you mean 'label'"),
        (["label"], "usage: geoduct kfp"),
        (["label", "{", JOB], "is no executor input"),
        (["label", '{"outputs": {}}', JOB], "outputs.outputFile"),
        (["label", '{"outputs": {"outputFile": "x"}}', JOB], "root is None; expected text"),
        (["label", '{"outputs": {"outputFile": "x"}}', JOB, "labels"], "names no file"),
        (["identify", '{"outputs": {"outputFile": "x"}}', JOB], "location is None; expected text"),
        (
            ["label", '{"inputs": {"parameterValues": {"root": "gs://b"}}, "outputs": {"outputFile": "x"}}', JOB],
            "root is 'gs://b'; expected a folder or an s3:// URL",
        ),
    ],
)
def test_a_wrong_call_is_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(GeoductError, match=sentence):
        execute(words)


def test_identify_says_the_digest_of_what_lies_there(tmp_path: Path) -> None:
    labels = labelmap(tmp_path / "labels", scenes.scene(8, 8)[0].astype("uint8") % 3)
    message = {
        "inputs": {"parameterValues": {"location": str(labels.path)}},
        "outputs": {"outputFile": str(tmp_path / "answer")},
    }
    execute(["identify", json.dumps(message), JOB])
    assert json.loads((tmp_path / "answer").read_text())["parameterValues"] == {"digest": labels.digest}
