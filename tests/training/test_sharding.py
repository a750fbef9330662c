import tiny
import torch
from torch import nn

from regen_hf.training.sharding import sharding_copy


def test_a_copy_to_shard_names_only_blocks_that_it_has():
    decoder = tiny.diffusion_decoder()
    decoder._no_split_modules.add("NotThere")
    copied = sharding_copy(decoder)
    assert set(decoder._no_split_modules) - set(copied._no_split_modules) == {"NotThere"}
    assert "ResnetBlock2D" in copied._no_split_modules
    copied.denoiser.net.conv_in.weight.data.zero_()
    assert not torch.equal(copied.denoiser.net.conv_in.weight, decoder.denoiser.net.conv_in.weight)
    assert sharding_copy(nn.Linear(2, 2))._no_split_modules == []
