"""What a diffusers backbone takes, read from its signature and its config."""

import inspect

import torch
from torch import nn

from ..sources.condition import Condition

# What diffusers calls the width of `encoder_hidden_states` and of the vector beside them, from class to class.
HIDDEN_WIDTHS = (
    "joint_attention_dim", "caption_channels", "cross_attention_input_dim", "cross_attention_dim", "text_dim",
    "text_embed_dim", "embedding_dim",
)  # fmt: skip
POOLED_WIDTHS = ("pooled_projection_dim", "global_states_input_dim", "embedding_proj_dim", "embedding_dim")
# What a generator can supply to a backbone, beside the noisy target and the timestep.
HIDDEN = {"encoder_hidden_states"}
POOLED = {"pooled_projections", "proj_embedding", "global_hidden_states"}
CONDITIONS = HIDDEN | POOLED | {
    "encoder_attention_mask", "attention_mask", "class_labels", "added_cond_kwargs", "rotary_embedding",
}  # fmt: skip


class Backbone:
    """A diffusers model as a generator sees it: `(noisy target, timestep, condition) -> output`.

    Args:
        net: the diffusers model.
        config: the generator's.

    Raises:
        ValueError: where the two do not fit, by the names and values of both sides.
    """

    def __init__(self, net: nn.Module, config):
        self.config, self.name = net.config, type(net).__name__
        parameters = list(inspect.signature(net.forward).parameters.values())[1:]
        needed = {p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
        if unknown := needed - CONDITIONS - {"timestep"}:
            raise ValueError(f"{self.name} needs {', '.join(sorted(unknown))}, which DiffusionGenerator cannot supply.")
        self.takes = CONDITIONS & {p.name for p in parameters}
        if "proj_embedding" not in self.takes:  # elsewhere it is not the mask of the hidden states
            self.takes -= {"attention_mask"}
        self.hidden_width = self._width(HIDDEN_WIDTHS) if self.takes & HIDDEN else None
        self.pooled_width = self._width(POOLED_WIDTHS) if self.takes & POOLED else None
        self.stacks_source = self._check_channels(config)
        self._check_sizes(tuple(config.target_shape))
        self._check_conditions(config)
        # random Fourier features know no order among timesteps that are far from [0, 1]
        self.timestep_scale = 1.0
        if any("GaussianFourierProjection" in type(module).__name__ for module in net.modules()):
            self.timestep_scale = 1 / config.scheduler.get("num_train_timesteps", 1000)

    def _width(self, names: tuple[str, ...]) -> int | None:
        return next((width for name in names if isinstance(width := self.config.get(name), int)), None)

    def _check_channels(self, config) -> bool:
        """Whether the channels are those of the target with a source representation stacked onto it."""
        target, source = tuple(config.target_shape), tuple(config.source_shape or ())
        found = self.config.get("in_channels", self.config.get("embedding_dim"))
        may_stack = len(source) == len(target) and config.source_num_codes is None
        if may_stack and found == target[0] + source[0]:
            return True
        if found == target[0] and (not source or self.hidden_width or self.pooled_width):
            return False
        channels = target[0] + (source[0] if source else 0)
        stacked = f" with source_shape {source} stacked onto it" if source else ""
        raise ValueError(
            f"{self.name} has in_channels {found}, but target_shape {target}{stacked} needs in_channels {channels}."
        )

    def _check_sizes(self, target: tuple[int, ...]) -> None:
        if self.config.get("sample_frames") is not None:
            raise ValueError(f"{self.name} takes frames before channels, which DiffusionGenerator does not give.")
        size = self.config.get("sample_size")
        fixed = "patch_size" in self.config  # a UNet takes any size
        if len(target) == 3 and fixed and isinstance(size, int) and target[1:] != (size, size):
            raise ValueError(f"{self.name} has sample_size {size}, but target_shape is {target}.")
        patch = self.config.get("patch_size")
        patches = [patch] * (len(target) - 1) if isinstance(patch, int) else patch or []
        if len(patches) == len(target) - 1 and any(s % p for s, p in zip(target[1:], patches, strict=True)):
            raise ValueError(f"{self.name} has patch_size {patch}, which does not divide target_shape {target}.")

    def _check_conditions(self, config) -> None:
        if config.reads_encoders and not self.takes & (HIDDEN | POOLED):
            raise ValueError(f"{self.name} takes no encoder_hidden_states, so it cannot read `source_encoder`.")
        masked = self.takes & {"encoder_attention_mask", "attention_mask"}
        if not self.stacks_source and None in (config.source_shape or ()) and not masked:
            raise ValueError(
                f"{self.name} takes no mask of its hidden states, so a source of any length cannot be padded: "
                f"source_shape must be whole numbers, got {tuple(config.source_shape)}."
            )
        if config.num_classes is None:
            return
        classes = config.num_classes  # a diffusers transformer adds a null class by itself, a UNet does not
        for field, needed in (("num_embeds_ada_norm", classes), ("num_class_embeds", classes + 1)):
            if (found := self.config.get(field)) not in (None, needed):
                raise ValueError(f"{self.name} has {field} {found}, but num_classes {classes} needs {needed}.")

    def arguments(self, condition: Condition, pooled: torch.Tensor, class_labels, noisy: torch.Tensor) -> dict:
        """The keyword arguments of the backbone's `forward` beside the timestep."""
        if "proj_embedding" in self.takes:
            condition = self._as_many_as_it_takes(condition)
        offered = {
            "encoder_hidden_states": condition.hidden,
            "encoder_attention_mask": condition.mask.bool(),
            "attention_mask": condition.mask.bool(),
            "pooled_projections": pooled,
            "proj_embedding": pooled,
            "global_hidden_states": pooled[:, None],
            "class_labels": class_labels,
            "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
        }
        if "rotary_embedding" in self.takes:
            offered["rotary_embedding"] = self._rotary_embedding(noisy)
        return {name: offered[name] for name in self.takes}

    def _as_many_as_it_takes(self, condition: Condition) -> Condition:
        """`PriorTransformer` has a position for each hidden state, and no fewer may come."""
        missing = self.config.num_embeddings - condition.hidden.shape[1]
        if missing < 0:
            raise ValueError(
                f"{self.name} has num_embeddings {self.config.num_embeddings}, but the source has "
                f"{condition.hidden.shape[1]} hidden states."
            )
        pad = nn.functional.pad
        return Condition(pad(condition.hidden, (0, 0, 0, missing)), pad(condition.mask, (0, missing)), condition.pooled)

    def _rotary_embedding(self, noisy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        from diffusers.models.embeddings import get_1d_rotary_pos_embed

        length = noisy.shape[-1] + 1  # the vector beside the hidden states comes first
        cos, sin = get_1d_rotary_pos_embed(
            self.config.attention_head_dim // 2, length, use_real=True, repeat_interleave_real=False
        )
        return cos.to(noisy.device), sin.to(noisy.device)


def keep_labels(net: nn.Module) -> None:
    """Some backbones hide classes by themselves in training; the generator does that, as often as it is told."""
    from diffusers.models.embeddings import LabelEmbedding

    for module in net.modules():
        if isinstance(module, LabelEmbedding):
            module.dropout_prob = 0.0
