"""Pipelines as Kubeflow's intermediate representation: held to its schema, to the signatures, and to digests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from components.errors import GeoductError
from components.kubeflow import encode, kfp_type, task_inputs, task_outputs
from components.launch.images import Image
from components.registry import COMPONENTS, load
from pipelines.__main__ import main
from pipelines.arguments import PIPELINES, arguments, named, read_params, settings
from pipelines.cluster import FILE, Cluster, read_cluster
from pipelines.compiling import compile_pipeline
from pipelines.graph import LENT, container
from tests.conftest import ROOT
from tests.pipelines.locks import REFERENCES, write_lock

TYPES = {bool: "BOOLEAN", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", str: "STRING", list: "LIST"}
PARAMS = read_params(ROOT / "params.yaml")


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Compile with images of this lock."""
    path = write_lock(tmp_path / "images.lock.yaml")
    monkeypatch.setenv("GEODUCT_IMAGES", str(path))
    return path


@pytest.fixture(params=sorted(PIPELINES))
def compiled(request: pytest.FixtureRequest, tmp_path: Path, lock: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two documents of a compiled pipeline: the pipeline, and what it asks of Kubernetes."""
    pipeline = named(request.param)
    file = compile_pipeline(pipeline, arguments(pipeline, PARAMS, {}), read_cluster(), tmp_path / "ir")
    spec, platform = yaml.safe_load_all(file.read_text())
    return spec, platform


def tasks(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All tasks of a pipeline that run a container, in loops and nested pipelines too, by their component's name."""
    for dag in (spec["root"], *spec["components"].values()):
        for task in dag.get("dag", {}).get("tasks", {}).values():
            component = spec["components"][task["componentRef"]["name"]]
            if "executorLabel" in component:
                yield component["executorLabel"].removeprefix("exec-").rstrip("-0123456789"), task


def test_the_schemas_of_kubeflow_take_it(compiled: tuple[dict[str, Any], dict[str, Any]]) -> None:
    spec, platform = compiled
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    parsed = json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    executors = parsed.platforms["kubernetes"].deployment_spec.executors
    assert executors
    for executor in executors.values():
        json_format.ParseDict(
            json_format.MessageToDict(executor), kubernetes_executor_config_pb2.KubernetesExecutorConfig()
        )


def test_images_are_named_by_the_digests_of_the_lock(compiled: tuple[dict[str, Any], dict[str, Any]]) -> None:
    executors = compiled[0]["deploymentSpec"]["executors"]
    for label, executor in executors.items():
        name = label.removeprefix("exec-").rstrip("-0123456789")
        image = load(name).spec.image if name in COMPONENTS else "data"
        assert executor["container"]["image"] == REFERENCES[image]
        assert {"name": "GEODUCT_IMAGE", "value": REFERENCES[image]} in executor["container"]["env"]


def test_every_task_is_given_every_input(compiled: tuple[dict[str, Any], dict[str, Any]]) -> None:
    seen = set()
    for name, task in tasks(compiled[0]):
        seen.add(name)
        given = set(task["inputs"]["parameters"])
        assert given >= (set(task_inputs(load(name).spec)) if name in COMPONENTS else {"location"})
    assert seen >= {"search", "acquire", "composite"}


def test_what_depends_on_unknown_contents_is_not_cached(compiled: tuple[dict[str, Any], dict[str, Any]]) -> None:
    cached = {name: bool(task["cachingOptions"].get("enableCache")) for name, task in tasks(compiled[0])}
    assert {name for name, on in cached.items() if not on} == {"search", "identify"}


def test_parameters_of_the_pipeline_are_those_of_its_components(
    compiled: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    spec = compiled[0]
    pipeline = PIPELINES[spec["pipelineInfo"]["name"]]
    declared = spec["root"]["inputDefinitions"]["parameters"]
    expected = {"root", *pipeline.inputs}
    for component in pipeline.components:
        for parameter in load(component).spec.parameters:
            name = f"{component}_{parameter.name}"
            lender = load(LENT[component]).spec.parameters if component in LENT else ()
            if name in pipeline.own or parameter.name in {p.name for p in lender}:
                continue
            expected.add(name)
            value = PARAMS.get(component, {}).get(parameter.name, parameter.default)
            assert declared[name]["parameterType"] == TYPES[kfp_type(parameter)]
            assert declared[name]["defaultValue"] == encode(parameter, parameter.check(value))
    assert set(declared) == expected


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_of_kubeflow_has_the_signature_of_ours(component: str) -> None:
    spec = load(component).spec
    made = container(spec, REFERENCES[spec.image]).pipeline_spec
    declared = made.components[f"comp-{component}"]
    values, files = task_outputs(spec)
    types = pipeline_spec_pb2.ParameterType.ParameterTypeEnum.Name
    found = {n: types(p.parameter_type) for n, p in declared.input_definitions.parameters.items()}
    assert found == {n: TYPES[t] for n, t in task_inputs(spec).items()}
    assert {*found} >= {s.name for s in spec.inputs} | {p.name for p in spec.parameters}
    found = {n: types(p.parameter_type) for n, p in declared.output_definitions.parameters.items()}
    assert found == {n: TYPES[t] for n, t in values.items()}
    schemas = {n: a.artifact_type.schema_title for n, a in declared.output_definitions.artifacts.items()}
    assert schemas == {n: f"system.{kind}" for n, kind in files.items()}
    assert {*files} >= {s.name for s in spec.outputs}


def test_tasks_get_what_the_cluster_file_says(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(
        """
        branches: 7
        backoff: {first: 5s, factor: 3.0, longest: 60s}
        volume: {claim: mine, path: /mine, user: 1000, group: 100}
        secret: {name: s3, variables: {key: AWS_ACCESS_KEY_ID}}
        defaults: {cpu: 500m, memory: 1Gi, retries: 3}
        tasks:
          predict: {gpus: 2, gpu: amd.com/gpu, shared_memory: 8Gi, nodes: {zone: a}, cache: false}
        """
    )
    pipeline = PIPELINES["inference"]
    compiled = compile_pipeline(pipeline, arguments(pipeline, PARAMS, {}), read_cluster(file), tmp_path)
    spec, platform = yaml.safe_load_all(compiled.read_text())
    by_name = dict(tasks(spec))
    assert by_name["predict"]["retryPolicy"] == {
        "backoffDuration": "5s", "backoffFactor": 3.0, "backoffMaxDuration": "60s", "maxRetryCount": 3,
    }  # fmt: skip
    assert "enableCache" not in by_name["predict"]["cachingOptions"]
    resources = spec["deploymentSpec"]["executors"]["exec-predict"]["container"]["resources"]
    assert resources["resourceCpuLimit"] == "500m" and resources["resourceMemoryLimit"] == "1Gi"
    assert resources["accelerator"] == {
        "resourceCount": "2", "resourceType": "amd.com/gpu", "count": "2", "type": "amd.com/gpu"
    }  # fmt: skip
    loops = [t for c in spec["components"].values() for t in c.get("dag", {}).get("tasks", {}).values()]
    assert [t["iteratorPolicy"]["parallelismLimit"] for t in loops if "iteratorPolicy" in t] == [7]
    asked = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert asked["exec-predict"]["emptyDirMounts"] == [
        {"medium": "Memory", "mountPath": "/dev/shm", "sizeLimit": "8Gi", "volumeName": "shared-memory"}
    ]
    assert asked["exec-predict"]["nodeSelector"] == {"labels": {"zone": "a"}}
    for executor in asked.values():
        assert executor["pvcMount"][0]["mountPath"] == "/mine"
        context = executor["securityContext"]
        assert (int(context["runAsUser"]), int(context["runAsGroup"]), context["runAsNonRoot"]) == (1000, 100, True)
        assert executor["secretAsEnv"][0]["keyToEnv"][0]["envVar"] == "AWS_ACCESS_KEY_ID"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("brnches: 2", "brnches is unknown; did you mean 'branches'"),
        ("defaults: {memry: 1Gi}", "defaults.memry is unknown; did you mean 'memory'"),
        ("tasks: {predct: {}}", "there is no component 'predct'; did you mean 'predict'"),
        ("tasks: {predict: {gpu_count: 1}}", "tasks.predict.gpu_count is unknown"),
        ("defaults: {memory: much}", "defaults.memory is 'much'"),
        ("branches: 0", "branches is 0"),
        ("[]", r"the file is \[\]"),
        ("{", "is not YAML"),
    ],
)
def test_a_faulty_cluster_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    with pytest.raises(GeoductError, match=f"^{file}: .*{sentence}|^{file} {sentence}"):
        read_cluster(file)


def test_the_cluster_file_that_comes_with_geoduct_names_only_tasks_of_its_pipelines() -> None:
    ours = {c for p in PIPELINES.values() for c in p.components} | {"identify"}
    assert set(read_cluster(FILE).tasks) <= ours


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["train.epoch=3"], "pipeline training has no parameter 'train.epoch'; did you mean 'train.epochs'"),
        (["train.epochs=many"], "--set: train --epochs is 'many'; expected an integer"),
        (["train.epochs=0"], "--set: train --epochs is 0; expected an integer, at least 1"),
        (["predict.overlap=0.5"], "pipeline training has no parameter 'predict.overlap'"),
        (["epochs"], "--set 'epochs' sets nothing"),
    ],
)
def test_a_wrong_parameter_is_one_sentence(overrides: list[str], sentence: str) -> None:
    with pytest.raises(GeoductError, match=sentence):
        arguments(PIPELINES["training"], PARAMS, settings(overrides))


def test_search_has_the_filters_of_acquire(tmp_path: Path) -> None:
    pipeline = PIPELINES["training"]
    found = arguments(pipeline, {"acquire": {"max_cloud": 40}, "search": {"max_cloud": 100}}, {})
    assert found["acquire_max_cloud"] == 40 and "search_max_cloud" not in found
    with pytest.raises(GeoductError, match=r"no parameter 'search\.bbox'; did you mean 'acquire\.bbox'"):
        arguments(pipeline, {}, {"search.bbox": "1,2,3,4"})
    spec = next(yaml.safe_load_all(compile_pipeline(pipeline, found, read_cluster(), tmp_path / "ir").read_text()))
    given = dict(tasks(spec))["search"]["inputs"]["parameters"]
    assert given["max_cloud"] == {"componentInputParameter": "acquire_max_cloud"}


def test_what_a_pipeline_sets_itself_is_not_for_others_to_set() -> None:
    inference = PIPELINES["inference"]
    assert "acquire_ids" not in arguments(inference, {"acquire": {"ids": None}}, {})
    for params, overrides in (({"acquire": {"ids": ["a"]}}, {}), ({}, {"acquire.ids": "a"})):
        with pytest.raises(GeoductError, match=r"pipeline inference sets acquire\.ids itself \(each branch acq"):
            arguments(inference, params, overrides)
    two = {"composite": {"periods": ["2020-06-01/2020-08-31", "2023-06-01/2023-08-31"]}}
    with pytest.raises(GeoductError, match=r"inference sets composite\.periods itself .* several periods maps their"):
        arguments(inference, two, {})


def test_what_is_set_goes_before_params_and_both_before_the_signature() -> None:
    pipeline = PIPELINES["training"]
    params = {"composite": {"dilation": 5, "reduction": "best"}}
    found = arguments(pipeline, params, settings(["composite.dilation=7", "acquire.bands=B02,B03", "labels=/x"]))
    assert (found["composite_dilation"], found["composite_reduction"]) == (7, "best")
    assert found["acquire_bands"] == ["B02", "B03"]
    assert found["label_nomenclature"] == "corine-2"
    assert found["labels"] == "/x" and "catalog" not in found


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "trainin"], "there is no pipeline 'trainin'; did you mean 'training'"),
        (["run", "training", "--params", "no.yaml"], "no.yaml cannot be read"),
        (["run", "training", "--set", "catalog=/no/such"], "/no/such does not exist"),
        (["run", "inference", "--set", "model=/no/such"], "does not exist"),
        (["submit", "training", "--root", "/r"], "pipeline training needs --set catalog=…"),
        (["compile"], "--output"),
        (["complie", "--output", "x"], "invalid choice: 'complie'"),
    ],
)
def test_a_wrong_command_is_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and sentence in said and said.count("\n") == 1


def test_without_kubeflows_own_packages_the_way_to_get_them_is_said() -> None:
    without = "import sys; sys.modules['kfp'] = None; from pipelines.__main__ import main; main(['run', 'training'])"
    ended = subprocess.run([sys.executable, "-c", without], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == "pipelines: kfp is missing; install it with: pip install 'geoduct[kfp]'\n"


def test_compile_writes_every_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    main(["compile", "--output", str(tmp_path / "ir"), "--set", "composite.dilation=9"])
    assert capsys.readouterr().out.split() == [str(tmp_path / "ir" / f"{name}.yaml") for name in PIPELINES]
    for name in PIPELINES:
        spec = next(yaml.safe_load_all((tmp_path / "ir" / f"{name}.yaml").read_text()))
        assert spec["root"]["inputDefinitions"]["parameters"]["composite_dilation"]["defaultValue"] == 9.0


def test_without_a_lock_nothing_is_compiled(tmp_path: Path, lock: Path) -> None:
    lock.unlink()
    pipeline = PIPELINES["training"]
    with pytest.raises(GeoductError, match="make images"):
        compile_pipeline(pipeline, {}, Cluster(), tmp_path / "ir")
    write_lock(lock)
    text = yaml.safe_load(lock.read_text())
    lock.write_text(yaml.safe_dump({"data": text["data"]}))
    assert Image(**text["data"]).reference == REFERENCES["data"]
    with pytest.raises(GeoductError, match="has no image 'learn'"):
        compile_pipeline(pipeline, {}, Cluster(), tmp_path / "ir")
    assert not (tmp_path / "ir").exists()
