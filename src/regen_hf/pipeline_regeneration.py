"""`transformers.pipeline("regeneration")`: what people hold in, what people hold out."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from transformers import Pipeline

from .processing_regeneration import RegenerationProcessor


class RegenerationPipeline(Pipeline):
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
        self.feature_extractor = self.processor  # the base class batches only where there is one, or a tokenizer

    def __call__(self, inputs: Any, **kwargs):
        """
        Args:
            inputs: one X; a list, a tuple or a column of a dataset, for a list of results; or a generator, for a
                generator of results.
            batch_size: how many are generated at once.
            num_return_sequences: with more than 1, a list of that many results for each X.
            return_representation: give Y′, too, under `"representation"`, and what each link of a chain makes under
                `"representations"`.
            generator: a `torch.Generator`, for results that can be repeated.
            kwargs: what the model's `generate` takes: `guidance`, `num_inference_steps`, `temperature`, ...

        Returns:
            A dictionary for each X, for example `{"image": PIL.Image}`.
        """
        if isinstance(inputs, Sequence) and not isinstance(inputs, str | bytes | list):
            inputs = list(inputs)
        if isinstance(inputs, list) and not inputs:
            return []
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, num_return_sequences: int | None = None, **generate_kwargs):
        repeated = {} if num_return_sequences is None else {"num_return_sequences": num_return_sequences}
        return {}, {**repeated, **generate_kwargs}, repeated

    def preprocess(self, input_: Any) -> dict[str, Any]:
        return dict(self.processor(source=[input_]))

    def _forward(self, model_inputs: dict[str, Any], **generate_kwargs) -> dict[str, Any]:
        output = self.model.generate(**model_inputs, **generate_kwargs)
        copies = generate_kwargs.get("num_return_sequences", 1)
        found = {"values": output.values, "mask": output.mask}
        for i, representation in enumerate(output.representations or ()):
            found |= {f"representation_{i}": representation.values, f"mask_{i}": representation.mask}
        # one row for each X, so that the base class can take the batch apart
        return {k: None if v is None else v.unflatten(0, (-1, copies)) for k, v in found.items()}

    def postprocess(self, model_outputs: dict[str, Any], num_return_sequences: int | None = None):
        values, mask = model_outputs["values"][0], model_outputs["mask"]
        results = self.processor.target.from_target(values, None if mask is None else mask[0])
        links = [name.removeprefix("representation_") for name in model_outputs if name.startswith("representation_")]
        for i, result in enumerate(results if links else []):
            made = [_real(model_outputs[f"representation_{link}"], model_outputs[f"mask_{link}"], i) for link in links]
            result["representation"] = made[0]
            if len(made) > 1:
                result["representations"] = made
        return results[0] if num_return_sequences is None else results

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs) -> None:
        """Saves the model and the processor; no code of the pipeline, which comes with the library."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


def _real(values: torch.Tensor, mask: torch.Tensor | None, copy: int) -> torch.Tensor:
    """One representation without its padding, which is in the last dimension."""
    return values[0][copy] if mask is None else values[0][copy][..., : int(mask[0][copy].sum())]
