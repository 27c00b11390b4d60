"""The verb `train`: a U-Net for a class a pixel, or a CNN for a class a patch, learned from a PatchSet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from components.contract import Ge, Gt, Input, Lt, Output, Unit, component
from components.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from components.artifacts import Model, PatchSet


@component(image="learn", resumable=True, ranks="devices")
def train(
    patches: Input[PatchSet],
    model: Output[Model],
    ranks: Ranks = ALONE,
    *,
    task: Literal["segmentation", "classification"] = "segmentation",
    encoder: str = "mobilenetv3_small_100",
    decoder: Annotated[tuple[int, int, int, int, int], Ge(1), Unit("channels")] = (128, 64, 32, 16, 16),
    epochs: Annotated[int, Ge(1)] = 20,
    batch_size: Annotated[int, Ge(2), Unit("patches")] = 16,
    learning_rate: Annotated[float, Gt(0)] = 3e-3,
    weight_decay: Annotated[float, Ge(0)] = 1e-2,
    schedule: Literal["cosine", "onecycle", "constant"] = "onecycle",
    warmup: Annotated[float, Ge(0), Lt(1)] = 0.25,
    patience: Annotated[int, Ge(0), Unit("epochs")] = 10,
    imbalance: Literal["none", "weights", "sampler"] = "weights",
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0,
    normalisation: Literal["standardise", "minmax", "percentile"] = "standardise",
    augment: bool = True,
    precision: Literal["32", "bf16"] = "32",
    channels_last: bool = True,
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
    devices: Annotated[int, Ge(1)] = 1,
    threads: Annotated[int, Ge(0)] = 1,
    workers: Annotated[int, Ge(1)] = 2,
    seed: Annotated[int, Ge(0)] = 0,
) -> None:
    """Train a network on labelled patches.

    The weights of the epoch with the best macro-F1 on the val split are kept. A run that was killed goes on after its
    last checkpoint when the same command is given again, and ends as if it had never stopped. It writes one after each
    epoch, every quarter of an hour, and when it is asked to stop: by the file that GEODUCT_STOP_FILE names, once it
    appears, or by SIGUSR1. The exit code is then 75.

    Several ranks, one a device, share each epoch: one step learns from batch_size patches on every rank and takes their
    mean gradient. The learning rate is used as given; with N times the ranks, N times the rate is a good first guess
    (Goyal et al. 2017, "Accurate, large minibatch SGD"). Batch normalisation sees the patches of its own rank alone.

    Args:
        patches: the patches; those of the test split are not looked at
        model: the trained network with all that predict and evaluate need of it
        task: a class for each pixel (U-Net) or the dominant class of each patch (CNN)
        encoder: network that sees, named as timm or segmentation-models-pytorch name it
        decoder: channels of the U-Net's decoder, from coarse to fine
        epochs: passes over the train split, at most
        batch_size: patches in a batch of one rank
        learning_rate: the largest that the schedule reaches
        weight_decay: of the optimiser, AdamW
        schedule: how the learning rate goes over the run
        warmup: share of the run in which the learning rate climbs
        patience: stop after so many epochs without a better macro-F1 on the val split; 0 = never
        imbalance: help rare classes by weights in the loss, or by drawing patches that hold them more often
        label_smoothing: share of the truth that is spread over all classes, for noisy labels
        normalisation: from the patches' statistics, mean and standard deviation, extremes, or 2nd and 98th percentile
        augment: turn and flip patches at random
        precision: number format of the computation; bf16 pays on GPUs, and on CPUs that have AMX
        channels_last: memory layout that most CPUs and GPUs convolve faster in
        accelerator: what to compute on
        devices: how many of them on this machine, a rank each; leave it at 1 where srun or torchrun starts the ranks
        threads: processor threads of torch in each rank; 0 = all cores. The weights depend on it in their last digits,
            and on a busy machine more threads wait for each other longer than they compute
        workers: threads that read patches, in each rank
        seed: of weights, order, draws and turns
    """
    import torch
    from safetensors.numpy import load_file

    from components.artifacts.model import CURVES, Description, write_model
    from components.learning.balance import class_weights
    from components.learning.datamodule import PatchDataModule
    from components.learning.fitting import fit, session
    from components.learning.history import write_curves, write_history
    from components.learning.networks import build, design
    from components.learning.task import PatchTask
    from components.storage import remove

    classes = len(patches.nomenclature)
    architecture = design(task, encoder, bands=len(patches.bands), classes=classes, decoder=decoder)
    data = PatchDataModule(
        patches,
        task=task,
        batch_size=batch_size,
        normalisation=normalisation,
        augment=augment,
        sampler=imbalance == "sampler",
        workers=workers,
        seed=seed,
        ranks=ranks.size,
    )
    folder = model.path / "checkpoints"
    with session(threads):
        torch.manual_seed(seed)
        network = build(architecture)
        learner = PatchTask(
            network,
            classes=classes,
            ids=data.ids,
            dominant=torch.from_numpy(data.dominant) if task == "classification" else None,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            schedule=schedule,
            warmup=warmup,
            weights=torch.from_numpy(class_weights(data.content)) if imbalance == "weights" else None,
            label_smoothing=label_smoothing,
            channels_last=channels_last,
            seed=seed,
        )
        fitted = fit(
            learner,
            data,
            folder,
            ranks=ranks,
            epochs=epochs,
            patience=patience,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            accelerator=accelerator,
        )
    if ranks.rank:
        return
    description = Description(
        task=task,
        architecture=architecture,
        bands=tuple(patches.bands),
        statistics=patches.statistics,
        normalisation=normalisation,
        nomenclature=patches.nomenclature,
        size=patches.size,
        patches=patches.digest,
    )
    write_model(model.path, description, load_file(fitted.weights))
    write_history(model.history, fitted.history)
    write_curves(model.path / CURVES, fitted.history, fitted.best)
    remove(folder)
