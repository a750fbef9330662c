import pytest
import tiny
import torch
from diffusers import AutoencoderKLCogVideoX, PriorTransformer, WanTransformer3DModel
from tiny_autoencoders import rae, vidtok
from transformers import AutoModel, BertModel, PreTrainedConfig, PreTrainedModel

from regen_hf import DiffusersModule, DiffusersModuleConfig
from regen_hf.parts.pretrained import HubReference, load_pretrained


def prior_transformer():
    return PriorTransformer(
        num_attention_heads=2, attention_head_dim=4, num_layers=1, embedding_dim=8, num_embeddings=3,
        additional_embeddings=1,
    )  # fmt: skip


def wan():
    return WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=8, freq_dim=8,
        ffn_dim=16, num_layers=1,
    )  # fmt: skip


MODULES = {
    "dit": lambda: tiny.dit((4, 8, 8)),
    "pixart": lambda: tiny.pixart((4, 8, 8)),
    "sd3": lambda: tiny.sd3((4, 8, 8)),
    "sana": lambda: tiny.sana((4, 8, 8)),
    "unet": lambda: tiny.unet((4, 8, 8)),
    "dc": tiny.dc,
    "kl": tiny.kl,
    "vq": tiny.vq,
    "prior": prior_transformer,
    "wan": wan,
    "rae": rae,
}


class Parent(PreTrainedModel):
    """A composite with a hosted module as its child."""

    config_class = PreTrainedConfig

    def __init__(self, config, child):
        super().__init__(config)
        self.child = child
        self.post_init()


@pytest.fixture(params=MODULES)
def module(request):
    return MODULES[request.param]()


def tensors(module):
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def test_weights_survive_being_hosted(module):
    before = {name: tensor.clone() for name, tensor in tensors(module).items()}
    Parent(PreTrainedConfig(), DiffusersModule.wrap(module))
    for name, tensor in tensors(module).items():
        assert torch.equal(tensor, before[name]), name


def test_every_parameter_and_buffer_survives_reloading(module, tmp_path):
    shell = DiffusersModule.wrap(module)
    shell.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path)
    found = tensors(reloaded.net)
    for name, tensor in tensors(module).items():
        assert torch.equal(found[name], tensor), name  # PriorTransformer, DiT, Wan: buffers that no file holds


def test_loads_any_diffusers_folder(tmp_path):
    module = tiny.vq()
    module.save_pretrained(tmp_path / "model" / "vqvae")
    shell = DiffusersModule.from_diffusers(str(tmp_path / "model"), subfolder="vqvae")
    assert shell.config.class_name == "VQModel"
    for name, tensor in module.state_dict().items():
        assert torch.equal(shell.net.state_dict()[name], tensor), name


def test_pickled_weights_are_not_read(tmp_path):
    tiny.vq().save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(ValueError, match="weights as a pickle only .*ask for safetensors"):
        DiffusersModule.from_diffusers(str(tmp_path))


def test_loads_what_diffusers_saved_as_transformers_would(tmp_path):
    module = wan()  # it has buffers that no file holds
    module.save_pretrained(tmp_path / "transformer")
    loaded = DiffusersModule.from_pretrained(tmp_path, subfolder="transformer")
    for name, tensor in tensors(module).items():
        assert torch.equal(tensors(loaded.net)[name], tensor), name


def test_hosts_whatever_is_given(tmp_path, monkeypatch):
    module = tiny.kl()
    module.save_pretrained(tmp_path)
    monkeypatch.setattr(HubReference, "pinned", lambda self: self)
    monkeypatch.setattr(HubReference, "__post_init__", lambda self: None)  # a folder stands for the Hub
    live, by_name = DiffusersModule.host(module), DiffusersModule.host(str(tmp_path))
    assert live.net is module and DiffusersModule.host(live) is live
    assert by_name.config.class_name == "AutoencoderKL"
    referred = DiffusersModule.host(HubReference(str(tmp_path)))
    assert referred.config.reference["name"] == str(tmp_path)
    for shell, frozen in ((live, False), (by_name, False), (referred, True)):
        assert bool(getattr(shell.config, "frozen", False)) is frozen
        assert any(parameter.requires_grad for parameter in shell.parameters()) is not frozen
    assert DiffusersModule.host(tiny.kl().requires_grad_(False)).config.frozen
    for wrong in (BertModel(tiny.bert()), torch.nn.Linear(2, 2)):
        with pytest.raises(TypeError, match=f"got {type(wrong).__name__}"):
            DiffusersModule.host(wrong)


def test_a_reference_is_loaded_as_checkpoints_do(tmp_path, monkeypatch):
    module = wan()
    module.save_pretrained(tmp_path)
    monkeypatch.setattr(HubReference, "pinned", lambda self: self)
    monkeypatch.setattr(HubReference, "__post_init__", lambda self: None)  # a folder stands for the Hub
    reference = HubReference(str(tmp_path))
    shell = DiffusersModule.host(reference)
    there = load_pretrained(reference.name, DiffusersModule.from_pretrained, **reference.place, config=shell.config)
    for name, tensor in module.state_dict().items():
        assert torch.equal(there.net.state_dict()[name], tensor), name


def test_builds_one_that_reads_values_while_it_is_built(tmp_path):
    module = vidtok("fsq")
    DiffusersModule.wrap(module).save_pretrained(tmp_path)
    found = tensors(AutoModel.from_pretrained(tmp_path).net)
    for name, tensor in tensors(module).items():
        assert torch.equal(found[name], tensor), name


def test_activation_checkpointing_saves_no_gradient(monkeypatch):
    """The same gradients, by running the blocks twice."""
    shell = DiffusersModule.wrap(tiny.sd3((4, 8, 8)))
    block, calls = shell.net.transformer_blocks[0], []
    block.register_forward_pre_hook(lambda *_: calls.append(1))
    given = {
        "encoder_hidden_states": torch.randn(1, 2, 16), "pooled_projections": torch.randn(1, 24),
        "timestep": torch.tensor([500.0]),
    }  # fmt: skip
    noisy, gradients = torch.randn(1, 4, 8, 8), []
    for checkpointed in (False, True):
        calls.clear()
        shell.zero_grad()
        if checkpointed:
            shell.activation_checkpointing_enable()
        shell(noisy, **given).sample.sum().backward()
        gradients.append(block.attn.to_q.weight.grad.clone())
        assert len(calls) == (2 if checkpointed else 1)
    torch.testing.assert_close(*gradients)


def test_unknown_class_is_refused_by_name():
    with pytest.raises(ValueError, match="`AutoencoderLK` is not a ModelMixin of diffusers .*AutoencoderKL"):
        DiffusersModule(DiffusersModuleConfig(class_name="AutoencoderLK"))
    with pytest.raises(ValueError, match="`DDPMScheduler` is not a ModelMixin"):
        DiffusersModule(DiffusersModuleConfig(class_name="DDPMScheduler"))


def test_reload_leaves_the_random_state_alone(tmp_path):
    DiffusersModule.wrap(tiny.dit((4, 8, 8))).save_pretrained(tmp_path)
    state = torch.random.get_rng_state()
    AutoModel.from_pretrained(tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())


def test_keeps_a_video_autoencoder(tmp_path):
    """One whose buffers and caches are not plain tensors."""
    video = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2
    )
    DiffusersModule.wrap(video).save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path)
    for name, tensor in video.state_dict().items():
        assert torch.equal(reloaded.net.state_dict()[name], tensor), name


def test_a_reload_draws_no_weights(tmp_path, monkeypatch):
    """A net is built anew for its buffers alone, of which a DiT's positions are some."""
    DiffusersModule.wrap(tiny.dit((4, 4, 4))).save_pretrained(tmp_path)
    drawn, reset = [], torch.nn.Linear.reset_parameters

    def watched(self):
        drawn.append(self.weight.is_meta)
        reset(self)

    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", watched)
    reloaded = DiffusersModule.from_pretrained(tmp_path)
    assert all(drawn) and reloaded.net.pos_embed.pos_embed.abs().sum() > 0
