"""The verb `pretrain`: a backbone that learns to see from images alone, by masked autoencoding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from components.contract import Ge, Gt, Input, Le, Lt, Output, Unit, component
from components.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from components.artifacts import PatchSet, SceneCube, Weights


@component(image="learn", resumable=True, ranks="devices")
def pretrain(
    patches: Input[PatchSet],
    scenes: Input[SceneCube] | None,
    weights: Output[Weights],
    ranks: Ranks = ALONE,
    *,
    backbone: str = "prithvi_eo_v2_tiny_tl",
    bands: tuple[str, ...] | None = None,
    stride: Annotated[int | None, Ge(1), Unit("pixels")] = None,
    min_clear: Annotated[float, Gt(0), Le(1)] = 0.75,
    token: Annotated[int, Ge(1), Unit("pixels")] = 16,
    width: Annotated[int | None, Ge(16)] = None,
    depth: Annotated[int | None, Ge(1)] = None,
    heads: Annotated[int | None, Ge(1)] = None,
    decoder_width: Annotated[int, Ge(16)] = 128,
    decoder_depth: Annotated[int, Ge(1)] = 2,
    decoder_heads: Annotated[int, Ge(1)] = 4,
    mask_ratio: Annotated[float, Gt(0), Lt(1)] = 0.75,
    even_tokens: bool = False,
    epochs: Annotated[int, Ge(1)] = 200,
    batch_size: Annotated[int, Ge(1), Unit("patches")] = 32,
    learning_rate: Annotated[float, Gt(0)] = 1e-3,
    weight_decay: Annotated[float, Ge(0)] = 0.05,
    warmup: Annotated[float, Ge(0), Lt(1)] = 0.1,
    augment: bool = True,
    precision: Literal["32", "bf16"] = "32",
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
    devices: Annotated[int, Ge(1)] = 1,
    threads: Annotated[int, Ge(0)] = 1,
    workers: Annotated[int, Ge(1)] = 2,
    seed: Annotated[int, Ge(0)] = 0,
) -> None:
    """Pre-train a backbone of the Prithvi family on unlabelled patches.

    A masked autoencoder (He et al. 2022) sees a quarter of each image and learns to paint the rest; what it has learned
    to see with is kept, the painter is not. No label is looked at. It learns from the train split, patches without a
    label included, and the weights of the epoch with the best reconstruction of the val split are kept; the test split
    is not looked at, so that a later comparison on it is fair. Beside the weights lie `history.csv` and
    `reconstructions.png`: patches of the val split as they are, as the network sees them, and as it completes them.

    With --scenes it also learns from single dates of the land under the train split's patches, each date with few
    enough clouds being one more image; what is not clear in it is painted as nodata is, as the band's mean.

    A run that was killed or asked to stop goes on after its last checkpoint, and several ranks share each epoch, as
    with train.

    Args:
        patches: the images; their labels are not used
        scenes: single dates to learn from besides; those that the patches' composite was made of, on the same grid
        weights: the pre-trained backbone
        backbone: name in TerraTorch's registry, of the Prithvi family; its size is that of the name unless given
        bands: that it is to see, in order, by Sentinel-2's names or TerraTorch's; all as stored by default
        stride: distance between windows cut from the scenes, all of whose pixels train patches cover; less than the
            patches' size makes them overlap; the patches' own places by default
        min_clear: least share of a window's pixels that a date has to show clearly
        token: edge of the squares into which an image is cut; it has to divide the patches' size
        width: features of a token, a multiple of 16
        depth: transformer blocks
        heads: of attention, in each block; they share the width evenly
        decoder_width: features of a token in the painter, a multiple of 16
        decoder_depth: transformer blocks of the painter
        decoder_heads: of attention in the painter
        mask_ratio: share of the tokens that is hidden
        even_tokens: paint each token on its own scale, mean 0 and variance 1, which puts detail before brightness
        epochs: passes over the train split and the windows of the scenes
        batch_size: patches in a batch of one rank
        learning_rate: the largest that the cosine schedule reaches
        weight_decay: of the optimiser, AdamW
        warmup: share of the run in which the learning rate climbs
        augment: turn and flip patches at random
        precision: number format of the computation; bf16 pays on GPUs
        accelerator: what to compute on
        devices: how many of them on this machine, a rank each; leave it at 1 where srun or torchrun starts the ranks
        threads: processor threads of torch in each rank; 0 = all cores
        workers: threads that read patches, in each rank
        seed: of weights, order, masks and turns
    """
    import torch
    from safetensors.torch import load_file

    from components.artifacts.periods import of_one_image
    from components.artifacts.weights import Origin, Pretraining, write_weights
    from components.finetune.weights import terratorch_names
    from components.learning.fitting import fit, session
    from components.learning.history import write_history
    from components.pretrain.autoencoder import ENCODER, Autoencoder, arguments_of, build
    from components.pretrain.data import Images
    from components.pretrain.picture import draw
    from components.storage import remove

    data = Images(
        patches,
        scenes=scenes,
        stride=stride,
        min_clear=min_clear,
        bands=bands,
        batch_size=batch_size,
        augment=augment,
        workers=workers,
        seed=seed,
    )
    names = terratorch_names(of_one_image(data.bands))
    sizes = arguments_of(token=token, width=width, depth=depth, heads=heads, patch=patches.size)
    painter = {"decoder_embed_dim": decoder_width, "decoder_depth": decoder_depth, "decoder_num_heads": decoder_heads}
    folder = weights.path / "checkpoints"
    with session(threads):
        torch.manual_seed(seed)
        network = build(
            backbone,
            names,
            {**sizes, **painter, "img_size": patches.size, "mask_ratio": mask_ratio, "norm_pix_loss": even_tokens},
        )
        learner = Autoencoder(
            network,
            ids=data.ids,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup=warmup,
            seed=seed,
        )
        fitted = fit(
            learner,
            data,
            folder,
            ranks=ranks,
            epochs=epochs,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            accelerator=accelerator,
        )
        if ranks.rank:
            return
        best = load_file(fitted.weights)
        network.load_state_dict(best)
        draw(network.cpu().eval(), data, weights.path / "reconstructions.png", seed)
    dates = f" and the SceneCube {scenes.digest}" if scenes else ""
    told = Pretraining(
        backbone=backbone,
        bands=names,
        size=patches.size,
        origin=Origin(f"pretrained by Geoduct on the PatchSet {patches.digest}{dates}"),
        arguments=sizes,
        statistics={
            name: {key: patches.statistics[band][key] for key in ("mean", "std")}
            for name, band in zip(names, data.bands, strict=True)
        },
    )
    encoder = {name.removeprefix(ENCODER): t.numpy() for name, t in best.items() if name.startswith(ENCODER)}
    write_weights(weights.path, told, encoder)
    write_history(weights.path / "history.csv", fitted.history)
    remove(folder)
