"""What a diffusers backbone takes, read from its signature and its config."""

import inspect

import torch

# What diffusers calls the width of `encoder_hidden_states` and of `pooled_projections`, from class to class.
HIDDEN_WIDTHS = ("joint_attention_dim", "caption_channels", "cross_attention_dim")
POOLED_WIDTHS = ("pooled_projection_dim",)
# What a generator can supply to a backbone, beside the noisy target and the timestep.
CONDITIONS = {
    "encoder_hidden_states",
    "encoder_attention_mask",
    "pooled_projections",
    "class_labels",
    "added_cond_kwargs",
}


def condition_widths(net: torch.nn.Module) -> tuple[int | None, int | None]:
    """The widths of the hidden states and of the pooled ones that a backbone takes, `None` where it takes none."""
    found = ([net.config.get(name) for name in names] for names in (HIDDEN_WIDTHS, POOLED_WIDTHS))
    hidden, pooled = (next((w for w in widths if isinstance(w, int)), None) for widths in found)
    return hidden, pooled


def check_backbone(net: torch.nn.Module, config) -> set[str]:
    """The conditions that a backbone takes.

    Raises:
        ValueError: where it does not fit the generator's config, by the names and values of both sides.
    """
    name = type(net).__name__
    _check_shape(net, name, tuple(config.target_shape), tuple(config.source_shape or ()))
    parameters = list(inspect.signature(net.forward).parameters.values())[1:]
    needed = {p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    if unknown := needed - CONDITIONS - {"timestep"}:
        raise ValueError(f"{name} needs {', '.join(sorted(unknown))}, which DiffusionGenerator does not supply.")
    takes = CONDITIONS & {p.name for p in parameters}
    if config.source_encoder_config is not None and not takes & {"encoder_hidden_states", "pooled_projections"}:
        raise ValueError(f"{name} takes no encoder_hidden_states, so it cannot read text (`source_encoder_config`).")
    if config.num_classes is not None:  # a diffusers transformer adds a null class by itself, a UNet does not
        for field, needed in (
            ("num_embeds_ada_norm", config.num_classes),
            ("num_class_embeds", config.num_classes + 1),
        ):
            if (found := net.config.get(field)) not in (None, needed):
                raise ValueError(f"{name} has {field} {found}, but num_classes {config.num_classes} needs {needed}.")
    return takes


def _check_shape(net: torch.nn.Module, name: str, target: tuple[int, ...], source: tuple[int, ...]) -> None:
    channels = target[0] + (source[0] if source else 0)
    if (found := net.config.get("in_channels")) != channels:
        stacked = f" with source_shape {source} stacked onto it" if source else ""
        raise ValueError(
            f"{name} has in_channels {found}, but target_shape {target}{stacked} needs in_channels {channels}."
        )
    if isinstance(size := net.config.get("sample_size"), int) and any(s != size for s in target[1:]):
        raise ValueError(f"{name} has sample_size {size}, but target_shape is {target}.")
    if isinstance(patch := net.config.get("patch_size"), int) and any(s % patch for s in target[1:]):
        raise ValueError(f"{name} has patch_size {patch}, which does not divide target_shape {target}.")


def keep_labels(net: torch.nn.Module) -> None:
    """Some backbones hide classes by themselves in training; the generator does that, as often as it is told."""
    from diffusers.models.embeddings import LabelEmbedding

    for module in net.modules():
        if isinstance(module, LabelEmbedding):
            module.dropout_prob = 0.0
