"""A site's profile as environment variables: what `sbatch` itself reads, and what the batch scripts read."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from components.hpc.site import Resources, Site, scripts
from components.launch.images import lock_path, sif_path

ACCOUNT = "SBATCH_ACCOUNT"
"""Where a user names the project that pays, as for any sbatch; it goes before the account of the profile."""


def payer(site: Site, account: str | None = None) -> str | None:
    """The project that pays: the one named, else the user's, else the profile's, else SLURM takes a default."""
    return account or os.environ.get(ACCOUNT) or site.profile.account


def sif_folder(site: Site) -> Path:
    """Where the site keeps the Apptainer images: `$GEODUCT_SIF`, the profile's folder, or `sif` beside the lock.

    Raises:
        GeoductError: the profile's folder needs a variable that is not set.
    """
    if site.profile.sif and not os.environ.get("GEODUCT_SIF"):
        return site.path("sif", site.profile.sif)
    return sif_path("data").parent


def options(site: Site, resources: Resources, account: str | None = None) -> list[str]:
    """What a component asks for, as words of sbatch."""
    words = [f"--account={found}"] if (found := payer(site, account)) else []
    words += [f"--partition={resources.partition}", f"--time={resources.time}", f"--nodes={resources.nodes}"]
    words += [f"--ntasks-per-node={resources.tasks}", f"--cpus-per-task={resources.cpus}"]
    words += [f"--mem={resources.memory}"] if resources.memory else []
    return words + ([f"--gres=gpu:{resources.gpus}"] if resources.gpus else [])


def for_scripts(site: Site, resources: Resources) -> dict[str, str]:
    """Variables that the batch scripts read. All are set, so that none is left over from another site.

    Raises:
        GeoductError: a folder of the profile needs a variable that is not set.
    """
    profile = site.profile
    binds = [str(site.path("binds", bind)) for bind in profile.binds]
    interface = profile.interface or ""
    return {
        "GEODUCT_SITE": site.name,
        "GEODUCT_HPC": str(scripts()),
        "GEODUCT_IMAGES": str(lock_path().absolute()),
        "GEODUCT_SIF": str(sif_folder(site)),
        "GEODUCT_SCRATCH": str(site.path("scratch", profile.scratch)),
        "GEODUCT_MODULES": " ".join(profile.modules),
        "GEODUCT_BINDS": ",".join(binds),
        "GEODUCT_TASKS": str(resources.tasks),
        "GEODUCT_CPUS": str(resources.cpus),
        "GEODUCT_HOST_SUFFIX": profile.host_suffix,
        "GEODUCT_SUCCESSORS": str(profile.successors),
        "NCCL_SOCKET_IFNAME": interface,
        "GLOO_SOCKET_IFNAME": interface,
    }


def for_sbatch(site: Site, resources: Resources, account: str | None = None) -> dict[str, str]:
    """Variables that sbatch reads as its options, so that `sbatch hpc/train.sbatch` needs none; "" is unset."""
    return {
        ACCOUNT: payer(site, account) or "",
        "SBATCH_PARTITION": resources.partition,
        "SBATCH_TIMELIMIT": resources.time,
        "SBATCH_MEM_PER_NODE": resources.memory or "",
        "SBATCH_GRES": f"gpu:{resources.gpus}" if resources.gpus else "",
        "SBATCH_SIGNAL": f"B:USR1@{site.profile.warning}",
    }


def exports(site: Site, component: str, account: str | None = None) -> str:
    """Shell commands that set all of it: `eval "$(geoduct hpc env train)"; sbatch hpc/train.sbatch …`.

    Raises:
        GeoductError: a folder of the profile needs a variable that is not set.
    """
    resources = site.of(component)
    variables = {**for_sbatch(site, resources, account), **for_scripts(site, resources)}
    lines = [f"export {name}={shlex.quote(value)}" if value else f"unset {name}" for name, value in variables.items()]
    return "\n".join(lines)
