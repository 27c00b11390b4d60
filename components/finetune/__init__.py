"""The verb `finetune`: a foundation model of TerraTorch, learned on from a PatchSet as a plain TerraTorch YAML says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from components.contract import File, Ge, Input, Output, component
from components.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from components.artifacts import Model, PatchSet, Weights


@component(image="learn", resumable=True, ranks="devices")
def finetune(
    patches: Input[PatchSet],
    weights: Input[Weights] | None,
    model: Output[Model],
    ranks: Ranks = ALONE,
    *,
    config: Annotated[str, File()] = "hpc/configs/prithvi-v2-tiny.yaml",
    override: tuple[str, ...] = (),
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
    devices: Annotated[int, Ge(1)] = 1,
    threads: Annotated[int, Ge(0)] = 1,
) -> None:
    """Fine-tune a foundation model of TerraTorch on labelled patches.

    The network, what it learns by and for how long stand in a YAML that `terratorch fit -c` takes as well; see
    hpc/configs. What it says about devices, loggers, checkpoints and progress bars is passed over, and named. The
    patches are those of --patches, whatever the YAML says.

    As with train, the weights of the epoch with the best macro-F1 on the val split are kept; a run that was killed or
    asked to stop goes on after its last checkpoint when the same command is given again, and several ranks share each
    epoch. A changed YAML begins anew. LoRA is merged into the weights, so that the Model is a plain network.

    Args:
        patches: the patches; those of the test split are not looked at
        weights: of the backbone, pre-trained; without them it begins from chance, if the YAML agrees
        model: the trained network with all that predict and evaluate need of it
        config: a YAML of TerraTorch
        override: changes to it, as key=value with dotted keys, such as trainer.max_epochs=5
        accelerator: what to compute on
        devices: how many of them on this machine, a rank each; leave it at 1 where srun or torchrun starts the ranks
        threads: processor threads of torch in each rank; 0 = all cores
    """
    from components.finetune.reading import read
    from components.learning.importing import import_terratorch

    said = read(config, override)
    import_terratorch()
    from components.finetune.run import tune

    tune(patches, weights, model, ranks, said=said, config=config, accelerator=accelerator, threads=threads)
