"""`regen-hf extract`."""

import dataclasses

from ..runtime.data_checks import check_columns
from ..runtime.processes import processes
from .loading import load_data, load_model
from .options import DataArguments, ModelArguments, refuse_unused


@dataclasses.dataclass
class TargetArguments(DataArguments):
    """The data.

    Args:
        target_column: the column of Y.
        keep_columns: columns to keep beside Y′, such as the one of X.
        streaming: read the dataset while it is used, not downloading all of it first.
    """

    target_column: str = "target"
    keep_columns: list[str] = dataclasses.field(default_factory=list)
    streaming: bool = False


@dataclasses.dataclass
class CacheArguments:
    """The result.

    Args:
        output_folder: where Y′ goes; what was interrupted there is gone on with.
        push_to_hub: name of a dataset on the Hub to upload it to.
        private: let nobody else see that dataset, if it is not there yet.
        batch_size: examples that are encoded at once, on each process.
        num_workers: processes that read data beside each one that encodes.
        overwrite: extract anew where there is Y′ of something else, in its place.
    """

    output_folder: str
    push_to_hub: str | None = None
    private: bool = False
    batch_size: int = 64
    num_workers: int = 0
    overwrite: bool = False

    def __post_init__(self):
        refuse_unused(self, "push_to_hub", "private")


def extract(asked: ModelArguments, data: TargetArguments, cache: CacheArguments) -> None:
    """Extracts the Y′ of every Y of a dataset once, for `regen-hf train --representations`.

    examples:
      regen-hf extract --model outputs/run/model --dataset outputs/pairs --target_column image --output_folder outputs/y
      regen-hf extract --config extract.yaml --push_to_hub user/representations

    several processes:
      torchrun --nproc_per_node 2 -m regen_hf extract ...
    """
    from ..cache.extraction import extract as extract_representations

    dataset = load_data(data.dataset, data.split, data.dataset_config, streaming=data.streaming)
    check_columns(dataset, [data.target_column])
    model, processor = load_model(asked)
    model.extractor.to(processes().device)
    made = extract_representations(
        model.extractor,
        processor.target,
        processor.target.prepare_column(dataset, data.target_column),
        data.target_column,
        cache.output_folder,
        columns=data.keep_columns,
        batch_size=cache.batch_size,
        num_workers=cache.num_workers,
        overwrite=cache.overwrite,
    )
    if processes().is_main_process:
        print(f"{len(made):,} representations, {made.spec}, are in {cache.output_folder}")
        if cache.push_to_hub:
            print(f"they were uploaded: {made.push_to_hub(cache.push_to_hub, private=cache.private or None)}")
