import pytest
import tiny
import torch
from transformers import AutoModel

from regen_hf import AutoregressiveGenerator
from regen_hf.generators.autoregressive.copying import CopyAttention
from regen_hf.generators.sources.condition import Condition

SETTINGS = {
    "prefix_vocabulary_size": 15, "reads_codes": True, "shares_vocabulary": True, "ties_head": True,
    "source_shape": (None,), "source_num_codes": 15, "max_places": 8, "condition_dropout": 0.0,
}  # fmt: skip


def writer(config=None, **settings) -> AutoregressiveGenerator:
    torch.manual_seed(0)
    config = config or tiny.lfm2()
    return AutoregressiveGenerator.from_components(config, (None,), 15, **{**SETTINGS, **settings})


def test_begins_by_pointing_at_what_follows_the_token_that_was_written():
    torch.manual_seed(0)
    copy, table = writer(tiny.lfm2(hidden_size=64), copies=True).copy_attention, torch.randn(8, 64)
    table = torch.nn.functional.normalize(table, dim=1)
    states, written = torch.randn(1, 3, 64), table[torch.tensor([[2, 5, 3]])]
    for size in (0.02, 1.0):  # of the embeddings
        condition = Condition.of(size * table[torch.tensor([[2, 5, 1, 3, 6]])], torch.ones(1, 5).long())
        found = copy(states, size * written, condition, torch.tensor(size**2))
        logits = (found - states) @ (size * table).T
        assert logits.argmax(-1).tolist() == [[5, 1, 6]]
        assert (logits.amax(-1) > 3).all()  # with all others at 0, more than log(8)


def test_padding_is_never_pointed_at():
    copy, states = CopyAttention(8, 8), torch.randn(1, 3, 8)
    copy.init_weights()
    source, mask = torch.randn(1, 4, 8), torch.ones(1, 4, dtype=torch.long)
    padded = torch.cat([torch.full((1, 2, 8), 9.0), source], 1), torch.cat([torch.zeros(1, 2).long(), mask], 1)
    found = [copy(states, states, Condition.of(*each), torch.tensor(8.0)) for each in (padded, (source, mask))]
    torch.testing.assert_close(*found)


def taught(**settings) -> AutoregressiveGenerator:
    """To repeat three codes, in a few steps."""
    generator = writer(**settings).train()
    optimizer = torch.optim.AdamW(generator.parameters(), lr=3e-3)
    for _ in range(60):
        codes = torch.randint(15, (32, 3))
        generator(target=codes, source=codes).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return generator.eval()


def test_learns_to_repeat_sooner():
    codes = torch.randint(15, (32, 3), generator=torch.Generator().manual_seed(2))
    with_copies, without = (taught(copies=each)(target=codes, source=codes).loss.item() for each in (True, False))
    assert with_copies < 0.7 * without


def test_writes_step_by_step_what_it_was_trained_to_write():
    generator, compared = taught(copies=True), 0
    source = torch.tensor([[3, 9, 4, 0], [5, 6, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
    asked = {"num_beams": 3, "num_return_sequences": 3, "do_sample": False}
    made = generator.generate(source=source, source_mask=mask, **asked)
    for i, (values, own, score) in enumerate(zip(made.values, made.mask, made.scores, strict=True)):
        if 0 < (length := int(own.sum())) < 8:
            given = {"source": source[i // 3 : i // 3 + 1], "source_mask": mask[i // 3 : i // 3 + 1]}
            loss = generator(target=values[None, :length], **given).loss.item()
            assert score.item() == pytest.approx(-loss * (length + 1), rel=1e-3)
            compared += 1
    assert compared > 1, "no beam has an end: this shows nothing"


def test_the_null_source_is_no_token_to_be_written():
    """Its vector is small beside embeddings, and adds little."""
    generator = writer(tiny.lfm2(initializer_range=0.25), copies=True, condition_dropout=0.1).eval()
    seen, copy = [], generator.copy_attention.forward
    generator.copy_attention.forward = lambda states, *given: seen.append((states, copy(states, *given))) or seen[-1][1]
    source = torch.tensor([[3, 9, 4]])
    made = generator.generate(source=source, do_sample=False, guidance=2.0)
    assert made.values.shape[0] == 1
    states, found = seen[0]
    added = (found - states).norm(dim=-1)[:, 0]  # towards the source, and away from it
    assert added[1] < 0.5 * added[0]


def test_is_what_it_was_after_loading(tmp_path):
    generator, codes = writer(copies=True).eval(), torch.tensor([[3, 9, 4]])
    for parameter in generator.copy_attention.parameters():
        torch.nn.init.normal_(parameter)
    generator.save_pretrained(tmp_path)
    back = AutoModel.from_pretrained(tmp_path)
    torch.testing.assert_close(back(target=codes, source=codes).loss, generator(target=codes, source=codes).loss)


def test_needs_the_same_tokens_on_both_sides():
    with pytest.raises(ValueError, match="`copies` needs `ties_head`, `shares_vocabulary` and `prefix_"):
        writer(copies=True, ties_head=False)
