"""`transformers.pipeline("regeneration")`: what people hold in, what people hold out."""

import itertools
import os
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from transformers.pipelines.base import ChunkPipeline

from .modalities.readers.columns import undecoded
from .parts.generation import Randomness, as_generator, rows_of
from .parts.part import SAVING
from .parts.pushing import Pushed, asked_of_hub
from .processing_regeneration import RegenerationProcessor


class RegenerationPipeline(Pushed, ChunkPipeline):
    """Generates Y from X with a [`RegenerationModel`] and its [`RegenerationProcessor`].

    Example:
        pipe = pipeline("regeneration", model="outputs/image_generation/model")
        pipe("red heart")["image"].save("heart.png")
        pipe(["red heart", "blue heart"], batch_size=2, guidance=3.0, generator=torch.Generator().manual_seed(0))
    """

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False
    _pipeline_calls_generate = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not isinstance(self.processor, RegenerationProcessor):
            raise TypeError(f"`processor` must be a RegenerationProcessor, got {type(self.processor).__name__}.")
        made, rate = self.model.config.target_spec.rate, self.processor.target.rate
        if None not in (made, rate) and made != rate:
            raise ValueError(f"the processor's target has {rate:g} values a second, but the model makes {made:g}.")
        # the base class batches only where there is one, or a tokenizer, and pads as it says
        self.feature_extractor = SimpleNamespace(padding_value=0.0, padding_side="right")

    def __call__(self, inputs: Any, **kwargs):
        """
        Args:
            inputs: one X; a list, a tuple or a column of a dataset, for a list of results; or a generator, for a
                generator of results.
            batch_size: how many are generated at once; each piece counts of an X in several, such as long audio.
            num_return_sequences: with more than 1, a list of that many results for each X.
            return_representation: give Y′, too, under `"representation"`, and what each link of a chain makes under
                `"representations"`; each a list where X is in several pieces.
            generator: a `torch.Generator`, a list with one for each result, or a seed, for results that can be
                repeated, however X are batched.
            kwargs: what the model's `generate` takes: `guidance`, `num_inference_steps`, `temperature`, ...

        Returns:
            A dictionary for each X, for example `{"image": PIL.Image}`.
        """
        if hasattr(inputs, "column_name"):
            inputs = undecoded(inputs)
        if isinstance(inputs, Sequence) and not isinstance(inputs, str | bytes | list):
            inputs = list(inputs)
        if isinstance(inputs, list) and not inputs:
            return []
        if kwargs.get("generator") is not None:  # once for all batches
            kwargs["generator"] = _in_turn(kwargs["generator"])
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, num_return_sequences: int | None = None, **generate_kwargs):
        repeated = {} if num_return_sequences is None else {"num_return_sequences": num_return_sequences}
        return {}, {**repeated, **generate_kwargs}, repeated

    def preprocess(self, input_: Any) -> Iterator[dict[str, Any]]:
        pieces = self.processor.source.pieces(input_)
        for i, piece in enumerate(pieces):
            yield {"is_last": i + 1 == len(pieces), **self.processor(source=[piece])}

    def _forward(self, model_inputs: dict[str, Any], **generate_kwargs) -> dict[str, Any]:
        is_last = model_inputs.pop("is_last")
        copies = generate_kwargs.get("num_return_sequences", 1)
        if isinstance(left := generate_kwargs.get("generator"), Iterator):
            own = list(itertools.islice(left, rows_of(model_inputs, self.model.source_names) * copies))
            generate_kwargs = {**generate_kwargs, "generator": own}
        output = self.model.generate(**model_inputs, **generate_kwargs)
        found = {"values": output.values, "mask": output.mask}
        for i, representation in enumerate(output.representations or ()):
            found |= {f"representation_{i}": representation.values, f"mask_{i}": representation.mask}
        # one row for each piece, so that the base class can take the batch apart
        rows = {k: None if v is None else v.unflatten(0, (-1, copies)) for k, v in found.items()}
        return rows | {"is_last": is_last}

    def postprocess(self, model_outputs: list[dict[str, Any]], num_return_sequences: int | None = None):
        target = self.processor.target
        masks = [None if piece["mask"] is None else piece["mask"][0] for piece in model_outputs]
        made = [target.from_target(piece["values"][0], mask) for piece, mask in zip(model_outputs, masks, strict=True)]
        results = [target.join(copy) for copy in zip(*made, strict=True)]
        names = [name for name in model_outputs[0] if name.startswith("representation_")]
        for i, result in enumerate(results if names else []):
            shown = [_shown(model_outputs, name.removeprefix("representation_"), i) for name in names]
            result["representation"] = shown[0]
            if len(shown) > 1:
                result["representations"] = shown
        return results[0] if num_return_sequences is None else results

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> None:
        """Saves the model and the processor; no code of the pipeline, which comes with the library.

        Args:
            push_to_hub: then upload both as one commit.
            kwargs: what the model's `save_pretrained` takes, such as `variant` and `max_shard_size`; and, with
                `push_to_hub`, arguments of [`RegenerationPipeline.push_to_hub`]. `repo_id` is the name of the folder
                where it is not said.

        Raises:
            TypeError: for an argument that has no effect.
        """
        own = {name: kwargs.pop(name) for name in SAVING if name in kwargs}
        hub = asked_of_hub(save_directory, push_to_hub, kwargs, saving=own)
        self.model.save_pretrained(save_directory, **own)
        if own.get("is_main_process", True):
            self.processor.save_pretrained(save_directory)
            if push_to_hub:
                self.push_to_hub(**hub)

    @property
    def home(self) -> str:
        return self.model.home or self.model.name_or_path


def _in_turn(generator: Randomness) -> torch.Generator | Iterator[torch.Generator]:
    """One generator for all batches, or those of a list, of which each batch takes as many as it has results."""
    if isinstance(generator, Sequence) and all(isinstance(own, torch.Generator) for own in generator):
        return iter(generator)
    return as_generator(generator)


def _shown(pieces: list[dict[str, Any]], link: str, copy: int) -> torch.Tensor | list[torch.Tensor]:
    """What one link of a chain made: of a piece, or of each where there are several."""
    made = [_real(piece[f"representation_{link}"], piece[f"mask_{link}"], copy) for piece in pieces]
    return made[0] if len(made) == 1 else made


def _real(values: torch.Tensor, mask: torch.Tensor | None, copy: int) -> torch.Tensor:
    """One representation without its padding, which is in the last dimension."""
    return values[0][copy] if mask is None else values[0][copy][..., : int(mask[0][copy].sum())]
