"""The command line of the pipelines: `python -m pipelines compile | run | submit`."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from components.errors import GeoductError
from components.flags import Parser


def _parser() -> ArgumentParser:
    parser = Parser(prog="python -m pipelines", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="compile | run | submit")

    def command(name: str, text: str) -> ArgumentParser:
        made = commands.add_parser(
            name, help=text, description=text, allow_abbrev=False, formatter_class=RawDescriptionHelpFormatter
        )
        made.add_argument("--params", type=Path, default=Path("params.yaml"), help="parameters [params.yaml]")
        made.add_argument(
            "--set",
            action="append",
            default=[],
            dest="overrides",
            metavar="NAME=VALUE",
            help="a parameter, as composite.reduction=median, or an input, as catalog=…; may be repeated",
        )
        return made

    made = command("compile", "Write every pipeline as Kubeflow's intermediate representation.")
    made.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for one YAML a pipeline")
    made.add_argument("--cluster", type=Path, help="what tasks get on the cluster [pipelines/cluster.yaml]")

    made = command("run", "Run a pipeline on this machine, each task in its container.")
    made.add_argument("pipeline", help="training or inference")
    made.add_argument("--root", default="data/pipelines", help="folder or s3:// URL for all that is made [%(default)s]")
    made.add_argument("--no-cache", action="store_true", help="run every task, also those that an earlier run here did")

    made = command("submit", "Start a pipeline on a cluster and follow it to its end.")
    made.add_argument("pipeline", help="training or inference")
    made.add_argument("--host", help="address of Kubeflow Pipelines; within its cluster it may be left out")
    made.add_argument("--root", required=True, help="folder or URL for all that is made, as the cluster sees it")
    made.add_argument("--cluster", type=Path, help="what tasks get on the cluster [pipelines/cluster.yaml]")
    made.add_argument("--namespace", help="of the cluster, where several users share it")
    made.add_argument("--experiment", default="geoduct", help="the experiment that the run is filed under [geoduct]")
    made.add_argument("--no-cache", action="store_true", help="run every task, also those that an earlier run did")
    return parser


def _compile(chosen: Namespace) -> None:
    from pipelines.arguments import PIPELINES, arguments, read_params, settings
    from pipelines.cluster import FILE, read_cluster
    from pipelines.compiling import compile_pipeline

    params, cluster = read_params(chosen.params), read_cluster(chosen.cluster or FILE)
    overrides = settings(chosen.overrides)
    for pipeline in PIPELINES.values():
        values = arguments(pipeline, params, overrides, str(chosen.params))
        print(compile_pipeline(pipeline, values, cluster, chosen.output))


def _run(chosen: Namespace) -> None:
    from pipelines.arguments import arguments, located, named, read_params, settings
    from pipelines.local import run_locally

    pipeline, params = named(chosen.pipeline), read_params(chosen.params)
    values = arguments(pipeline, params, settings(chosen.overrides), str(chosen.params))
    values |= located(pipeline, values, params)
    outputs = run_locally(pipeline, values, chosen.root, cache=not chosen.no_cache)
    print(f"\npipeline {pipeline.name}: done")
    _tell(outputs)


def _tell(outputs: Mapping[str, Any]) -> None:
    """Print where everything is; of a map its STAC item as well, and of metrics what they say."""
    import json

    from components.artifacts.map import ITEM

    for name, found in outputs.items():
        several = isinstance(found, list)
        for place in found if several else [found]:
            print(f"{name.removesuffix('s') if several else name}: {place}")
            if name == "maps":
                print(f"STAC item: {place}/{ITEM}")
            if name == "metrics":
                for metric, value in json.loads(Path(place).read_text()).items():
                    print(f"  {metric}: {value:g}")


def _submit(chosen: Namespace) -> None:
    from pipelines.arguments import arguments, named, read_params, settings
    from pipelines.cluster import FILE, read_cluster
    from pipelines.compiling import compile_pipeline
    from pipelines.submitting import TOKEN, Server, submit

    pipeline, params = named(chosen.pipeline), read_params(chosen.params)
    values = arguments(pipeline, params, settings(chosen.overrides), str(chosen.params))
    for name in pipeline.inputs:
        if name not in values:
            raise GeoductError(f"pipeline {pipeline.name} needs --set {name}=…, as the cluster sees it")
    server = Server(chosen.host and chosen.host.rstrip("/"), chosen.namespace, os.environ.get(TOKEN))
    with TemporaryDirectory() as folder:
        package = compile_pipeline(pipeline, values, read_cluster(chosen.cluster or FILE), Path(folder))
        submit(server, package, {**values, "root": chosen.root}, chosen.experiment, cache=not chosen.no_cache)


def _terminate(number: int, frame: object) -> NoReturn:
    print("pipelines: ended by SIGTERM", file=sys.stderr, flush=True)
    sys.exit(128 + number)


def main(words: Sequence[str]) -> None:
    """Exit code 0, 2 for bad input or a run that failed, 130 when interrupted, 143 when terminated."""
    signal.signal(signal.SIGTERM, _terminate)
    warnings.simplefilter("ignore", FutureWarning)  # Kubeflow's on every import, of what a user cannot change
    try:
        chosen = _parser().parse_args(words)
        {"compile": _compile, "run": _run, "submit": _submit}[chosen.command](chosen)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("docker", "kfp", "kfp_server_api"):
            raise
        print(f"pipelines: {error.name} is missing; install it with: pip install 'geoduct[kfp]'", file=sys.stderr)
        sys.exit(2)
    except GeoductError as error:
        print(f"pipelines: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("pipelines: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main(sys.argv[1:])
