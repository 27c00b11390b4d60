"""Pre-trained tensors into a backbone: by name, by band, and all of them; what does not fit is told, never skipped.

TerraTorch warns of what it could not load and goes on with random numbers. Here a network is either given all that the
weights hold of it, or nothing, and one sentence says why.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from components.artifacts.weights import TENSORS, Weights
from components.errors import GeoductError
from components.finetune.bands import SENTINEL2

Tensors = Mapping[str, torch.Tensor]

BEYOND = ("head.", "fc.", "fc_norm.")
"""How tensors begin that stand behind the features: no feature depends on them, so both sides may be without."""

FOREIGN = (*BEYOND, "decoder", "mask_token", "to_logits", "tokenizer", "encoder_embeddings.")
"""How tensors begin that weights may have to spare: of the pretraining's own task, or of another modality."""

ADDED = "vpt_prompt_embeddings"
"""Prompts that fine-tuning learns; no pretraining knows them."""

COORDINATES = {"temporal_embed": "temporal_encoding", "location_embed": "location_encoding"}
"""Prithvi's embeddings of date and place, and the attribute that says whether the network has them."""

FIXED = "pos_embed"
"""Prithvi's position embedding is computed from the image size, and never learned."""

_WRAPPINGS = ("module.", "model.", "backbone.", "encoder.")
"""What training code puts before the names of a network's tensors."""

_NAMES = {code: name for name, code in SENTINEL2.items()}


@dataclass(frozen=True)
class Matched:
    """What became of the tensors, by name.

    Of those `loaded`, `reshaped` were put together band by band; `missing` are tensors of the network that keep their
    own values, since they are fixed or no feature passes through them; `unexpected` are tensors of the weights for
    which it has no place. `fresh` are bands that the weights do not know, whose part stays random.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        if self.reshaped:
            parts.append(f"{', '.join(self.reshaped)} by band")
        if self.fresh:
            parts.append(f"{', '.join(self.fresh)} random, for the weights do not know that band")
        for names, what in ((self.missing, "kept as built"), (self.unexpected, "of the weights left out")):
            if names:
                parts.append(f"{len(names)} {what} ({', '.join(sorted({n.partition('.')[0] for n in names}))})")
        return "; ".join(parts)


def load_backbone(encoder: nn.Module, weights: Weights, bands: Sequence[str] | None = None) -> Matched:
    """Put the tensors of an artifact into a backbone of TerraTorch, before it is wrapped by LoRA.

    Args:
        encoder: as TerraTorch's registry builds it.
        weights: of the same backbone, of whatever bands and image size.
        bands: of the encoder's input, in order, by TerraTorch's names or Sentinel-2's; the weights' own if not given.

    Raises:
        GeoductError: the weights are of another architecture or size, lack a tensor, have one too many, or share no
            band with the encoder; the encoder is as before.
    """
    tensors = {name: torch.from_numpy(values) for name, values in weights.tensors().items()}
    told = weights.pretraining
    try:
        return match(encoder, tensors, told.bands, bands or told.bands, f"{weights.path / TENSORS} ({told.backbone})")
    except GeoductError as error:
        if not told.arguments:
            raise
        sizes = ", ".join(f"backbone_{name}: {value}" for name, value in told.arguments.items())
        raise GeoductError(f"{error}; they fit a backbone with these in model_args: {sizes}") from None


def match(encoder: nn.Module, tensors: Tensors, known: Sequence[str], bands: Sequence[str], where: str) -> Matched:
    """Put tensors, named as the encoder names them, into it; `known` are their bands, `bands` the encoder's.

    Raises:
        GeoductError: as `load_backbone` does; `where` begins the sentence.
    """
    known, bands = terratorch_names(known), terratorch_names(bands)
    own = encoder.state_dict()
    spare = {name for name in tensors if name not in own}
    if strange := sorted(name for name in spare if not _spare(encoder, name)):
        raise GeoductError(
            f"{where} has {len(strange)} tensors that the network does not know, such as {strange[0]!r}: "
            "they are of another architecture or a deeper one"
        )
    computed = {name for name in own if name == FIXED and _is_prithvi(encoder)}
    absent = {name for name in own if name not in tensors} | computed
    if lacking := sorted(name for name in absent - computed if not _bare(name).startswith((*BEYOND, ADDED))):
        raise GeoductError(
            f"{where} lacks {len(lacking)} of the network's {len(own)} tensors, such as {lacking[0]!r}: "
            "they are of another architecture or a shallower one"
        )
    usable = {name: tensors[name] for name in own if name not in absent}
    stem = stem_of(encoder)
    fresh: tuple[str, ...] = ()
    for name, values in usable.items():
        expected = _with_bands(own[name], len(bands), len(known)) if name == stem else tuple(own[name].shape)
        if tuple(values.shape) != expected:
            raise GeoductError(
                f"{where}: tensor {name!r} has shape {tuple(values.shape)}; the network expects {expected}: "
                "the weights are of another size, or of other bands"
            )
    reshaped: tuple[str, ...] = ()
    if stem is not None and tuple(known) != tuple(bands):
        fresh = tuple(band for band in bands if band not in known)
        if len(fresh) == len(bands):
            raise GeoductError(f"{where} knows the bands {', '.join(known)}, and none of {', '.join(bands)}")
        usable = {**usable, stem: _by_band(encoder, stem, usable[stem], known, bands)}
        reshaped = (stem,)
    encoder.load_state_dict({**own, **usable})
    return Matched(tuple(usable), tuple(sorted(absent)), tuple(sorted(spare)), reshaped, fresh)


def terratorch_names(bands: Sequence[str]) -> tuple[str, ...]:
    """Bands by TerraTorch's names; a name that is not Sentinel-2's stays as it is."""
    return tuple(_NAMES.get(band, band) for band in bands)


def stem_of(encoder: nn.Module) -> str | None:
    """The tensor that meets the bands: a convolution of them, or TerraMind's projection; none where no tensor does."""
    own = encoder.state_dict()
    for name, values in own.items():
        if values.ndim >= 4:
            return name
        if name.startswith("encoder_embeddings.") and name.endswith(".proj.weight"):
            return name
    return None


def rename(encoder: nn.Module, tensors: Tensors) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint under the encoder's names, without those of the pretraining's own head.

    What training code and TerraTorch's wrappers put before the names is taken off and put on as most names agree.
    """
    own = encoder.state_dict()
    wrappers = {"", *(name.partition(".")[0] + "." for name in own)}
    plain = {name.replace("_timm_module.", ""): values for name, values in tensors.items()}
    while outer := next((off for off in _WRAPPINGS if all(name.startswith(off) for name in plain)), None):
        plain = {name.removeprefix(outer): values for name, values in plain.items()}
    choices = [(off, on) for off in ("", *_WRAPPINGS) for on in sorted(wrappers)]

    def renamed(off: str, on: str) -> dict[str, torch.Tensor]:
        return {on + name.removeprefix(off): values for name, values in plain.items()}

    best = max((renamed(*choice) for choice in choices), key=lambda names: len(names.keys() & own.keys()))
    return {name: values for name, values in best.items() if name in own or not _bare(name).startswith(FOREIGN)}


def _bare(name: str) -> str:
    """A tensor's name without that of the module in which TerraTorch wraps torchgeo's networks (`resnet_model.`)."""
    return name.rpartition("_model.")[2]


def _is_prithvi(encoder: nn.Module) -> bool:
    return hasattr(encoder, "temporal_encoding") and hasattr(encoder, "patch_embed")


def _spare(encoder: nn.Module, name: str) -> bool:
    """Whether the encoder may do without a tensor of the weights."""
    for start, attribute in COORDINATES.items():
        if name.startswith(start):
            return not getattr(encoder, attribute, True)
    return _bare(name).startswith(FOREIGN)


def _with_bands(values: torch.Tensor, bands: int, wanted: int) -> tuple[int, ...]:
    """The shape that the encoder's stem, of `bands` bands, would have with `wanted` ones."""
    shape = list(values.shape)
    if shape[1] % bands:
        return tuple(shape)
    shape[1] = shape[1] // bands * wanted
    return tuple(shape)


def _by_band(
    encoder: nn.Module, stem: str, values: torch.Tensor, known: Sequence[str], bands: Sequence[str]
) -> torch.Tensor:
    """The stem's tensor for `bands`, of one for `known`; what is not known is random, as TerraTorch draws it."""
    from terratorch.models.backbones.select_patch_embed_weights import select_patch_embed_weights

    own: torch.Tensor = encoder.state_dict()[stem]
    if values.ndim == 2:  # TerraMind: (feature, pixel and band), the band running fastest
        taken = own.clone().view(own.shape[0], -1, len(bands))
        given = values.view(values.shape[0], -1, len(known))
        for number, band in enumerate(bands):
            if band in known:
                taken[..., number] = given[..., list(known).index(band)]
        return taken.reshape(own.shape)
    holder = nn.Module()
    holder.register_parameter("proj", nn.Parameter(own.clone()))
    with warnings.catch_warnings(action="error"):
        selected = select_patch_embed_weights({"proj": values}, holder, list(known), list(bands), proj_key="proj")
    result: torch.Tensor = selected["proj"]
    return result
