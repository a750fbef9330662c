import pytest
import tiny
import torch
from transformers import AutoModel

from regen_hf import AutoregressiveGenerator
from regen_hf.generators.conditioning import Condition
from regen_hf.generators.copying import CopyAttention

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
        logits = (copy(states, size * written, condition) - states) @ (size * table).T
        assert logits.argmax(-1).tolist() == [[5, 1, 6]]
        assert (logits.amax(-1) > 3).all()  # with all others at 0, more than log(8)


def test_padding_is_never_pointed_at():
    copy, states = CopyAttention(8, 8), torch.randn(1, 3, 8)
    copy.init_weights()
    source, mask = torch.randn(1, 4, 8), torch.ones(1, 4, dtype=torch.long)
    padded = torch.cat([torch.full((1, 2, 8), 9.0), source], 1), torch.cat([torch.zeros(1, 2).long(), mask], 1)
    found = [copy(states, states, Condition.of(*each)) for each in (padded, (source, mask))]
    torch.testing.assert_close(*found)


def test_learns_to_repeat_sooner():
    losses = {}
    for copies in (False, True):
        generator = writer(copies=copies).train()
        optimizer = torch.optim.AdamW(generator.parameters(), lr=3e-3)
        torch.manual_seed(1)
        for _ in range(60):
            codes = torch.randint(15, (32, 6))
            generator(target=codes, source=codes).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        codes = torch.randint(15, (32, 6), generator=torch.Generator().manual_seed(2))
        losses[copies] = generator.eval()(target=codes, source=codes).loss.item()
    assert losses[True] < 0.5 * losses[False]


def test_writes_step_by_step_what_it_was_trained_to_write():
    generator = writer(copies=True).eval()
    source = torch.tensor([[3, 9, 4, 0], [5, 6, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)
    for asked in (
        {"do_sample": False, "num_beams": 3, "num_return_sequences": 3},
        {"do_sample": False, "num_beams": 2},
    ):
        made = generator.generate(source=source, source_mask=mask, **asked)
        rows = len(made.values) // 2
        for i, (values, own, score) in enumerate(zip(made.values, made.mask, made.scores, strict=True)):
            if (length := int(own.sum())) < 8:
                given = {"source": source[i // rows : i // rows + 1], "source_mask": mask[i // rows : i // rows + 1]}
                loss = generator(target=values[None, :length], **given).loss.item()
                assert score.item() == pytest.approx(-loss * (length + 1), rel=1e-3)


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
