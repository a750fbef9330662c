"""What every generator must do. A new one is tested by

class TestMine(GeneratorConformance):
    def make(self, **settings):
        return MyGenerator(...)

    def source(self):
        return {"input_ids": ...}
"""

import copy

import pytest
import torch
from transformers import AutoModel


class GeneratorConformance:
    quick: dict = {}
    """Arguments of `generate` that make it repeatable and quick."""

    steps: int = 60
    """How many steps show that one batch is learned."""

    def make(self, **settings):
        raise NotImplementedError

    def source(self) -> dict[str, torch.Tensor]:
        """Sources of four different examples."""
        raise NotImplementedError

    def target(self, generator) -> torch.Tensor:
        """Four targets."""
        spec = generator.config.target_spec
        if spec.num_codes is None:
            return torch.randn(4, *spec.shape)
        return torch.randint(spec.num_codes, (4, *spec.shape))

    @pytest.fixture
    def generator(self):
        return self.make().eval()

    def generate(self, generator, rows=slice(None), /, **arguments):
        source = {name: tensor[rows] for name, tensor in self.source().items()}
        return generator.generate(**source, **{**self.quick, **arguments}).values

    def test_gives_what_its_config_says(self, generator):
        spec, values = generator.config.target_spec, self.generate(generator)
        assert values.shape == (4, *spec.shape)
        if spec.num_codes is None:
            assert torch.isfinite(values).all()
        else:
            assert values.dtype == torch.long
            assert values.min() >= 0 and values.max() < spec.num_codes

    def test_learns_one_batch(self):
        generator = self.make().train()
        target = self.target(generator)
        generator.fit_statistics([target], [self.source()["source"]] if "source" in self.source() else None)
        optimizer = torch.optim.Adam(generator.parameters(), 1e-2)
        losses = []
        for _ in range(self.steps):
            output = generator(target=target, **self.source())
            assert output.loss.ndim == 0
            assert output.loss.item() == pytest.approx(sum(term.item() for term in output.terms.values()), rel=1e-4)
            output.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(output.loss.item())
        assert sum(losses[-15:]) < 0.85 * sum(losses[:15])

    def test_training_step_reaches_source_and_backbone(self, generator):
        generator.train()
        generator(target=self.target(generator), **self.source()).loss.backward()
        reached = {name.split(".")[0] for name, p in generator.named_parameters() if p.grad is not None}
        assert {
            name for name, _ in generator.named_children() if list(getattr(generator, name).parameters())
        } <= reached

    def test_batched_equals_single(self, generator):
        shared = self._seeded(0)
        single = torch.cat([self.generate(generator, slice(i, i + 1), generator=shared) for i in range(4)])
        batched = self.generate(generator, generator=self._seeded(0))
        torch.testing.assert_close(batched, single, rtol=1e-3, atol=1e-4)

    @staticmethod
    def _seeded(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    def test_reloads_with_equal_outputs(self, generator, tmp_path):
        generator.save_pretrained(tmp_path)
        reloaded = AutoModel.from_pretrained(tmp_path)
        assert type(reloaded) is type(generator)
        torch.testing.assert_close(
            self.generate(reloaded, generator=self._seeded(0)),
            self.generate(generator, generator=self._seeded(0)),
            rtol=1e-3,
            atol=1e-4,
        )

    def test_runs_in_bfloat16(self, generator):
        values = self.generate(copy.deepcopy(generator).to(torch.bfloat16))
        assert not values.is_floating_point() or torch.isfinite(values.float()).all()

    def test_refuses_a_source_of_another_kind(self, generator):
        name = next(iter(self.source()))
        with pytest.raises(ValueError, match=f"`{name}` is missing"):
            generator.generate(**{k: v for k, v in self.source().items() if k != name}, **self.quick)

    def test_refuses_arguments_that_it_does_not_know(self, generator):
        with pytest.raises((TypeError, ValueError), match="no_such_argument"):
            self.generate(generator, no_such_argument=1)

    def test_refuses_settings_that_it_does_not_know(self):
        with pytest.raises(TypeError, match="`condition_droput` is no setting.*mean `condition_dropout`"):
            self.make(condition_droput=0.5)

    def test_guidance_needs_a_null_source(self):
        generator = self.make(condition_dropout=0.0).eval()
        with pytest.raises(ValueError, match=r"`guidance` must be 1, got 2.0.*`condition_dropout` 0"):
            self.generate(generator, guidance=2.0)

    def test_default_arguments_come_from_the_config(self, generator):
        generator = self.make(condition_dropout=0.0, generation={"guidance": 3.0}).eval()
        with pytest.raises(ValueError, match=r"got 3.0"):
            self.generate(generator)
