import pytest
import tiny
import torch
from generators.autoregressive.priors import beside, reading_out
from generators.conformance import GeneratorConformance
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BertModel,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    ViTConfig,
)

from regen_hf import AutoregressiveGenerator, RepresentationSpec


class AutoregressiveConformance(GeneratorConformance):
    quick = {"do_sample": False}

    def source(self):
        return dict(tiny.processor()(source=tiny.NAMES[:4]))


class TestGPT2WithBert(AutoregressiveConformance):
    def make(self, **settings):
        return tiny.code_prior((3, 4), **settings)


class TestBartWithT5(AutoregressiveConformance):
    def make(self, **settings):
        return AutoregressiveGenerator.from_components(tiny.bart(), (3, 4), 12, tiny.t5(), **settings)


class TestT5OfItsOwn(AutoregressiveConformance):
    """An encoder-decoder whose encoder reads the text and whose decoder writes the codes."""

    def make(self, **settings):
        return AutoregressiveGenerator.from_components(tiny.t5(), (3, 4), 12, **settings)


class TestBartOfItsOwn(AutoregressiveConformance):
    def make(self, **settings):
        return AutoregressiveGenerator.from_components(tiny.bart_both(), (3, 4), 12, **settings)


class TestLlamaAfterBert(AutoregressiveConformance):
    """No cross-attention: the source comes first."""

    def make(self, **settings):
        return AutoregressiveGenerator.from_components(tiny.llama(), (3, 4), 12, tiny.bert(), **settings)


class TestLlamaThatReadsTheText(AutoregressiveConformance):
    def make(self, **settings):
        settings = {"prefix_vocabulary_size": 16, **settings}
        return AutoregressiveGenerator.from_components(tiny.llama(), (3, 4), 12, **settings)


class TestConvolutionsThatReadTheText(AutoregressiveConformance):
    """And write with the embeddings that they read with."""

    def make(self, **settings):
        settings = {"prefix_vocabulary_size": 16, "ties_head": True, **settings}
        return AutoregressiveGenerator.from_components(tiny.lfm2(), (3, 4), 12, **settings)


class TestSeveralCodebooksInTurn(AutoregressiveConformance):
    order = "interleave"

    def make(self, **settings):
        settings = {"num_codebooks": 3, "order": self.order, **settings}
        return AutoregressiveGenerator.from_components(tiny.gpt2(), (3, 5), 12, tiny.bert(), **settings)


class TestSeveralCodebooksDelayed(TestSeveralCodebooksInTurn):
    order = "delay"


class TestLlamaWithDelayedCodebooks(AutoregressiveConformance):
    def make(self, **settings):
        settings = {"num_codebooks": 3, "order": "delay", **settings}
        return AutoregressiveGenerator.from_components(tiny.llama(), (3, 5), 12, tiny.bert(), **settings)


class TestCodesOfAnyLength(AutoregressiveConformance):
    """Codes in, codes out, each of any length."""

    order, books = "interleave", 1

    def make(self, **settings):
        settings = {"num_codebooks": self.books, "order": self.order, "max_places": 7, **settings}
        shape = (self.books, None) if self.books > 1 else (None,)
        return AutoregressiveGenerator.from_components(
            tiny.gpt2(), shape, 12, source_shape=[None], source_num_codes=9, **settings
        )

    def source(self):
        return {"source": torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8], [2, 1, 0]])}

    def target(self, generator):
        shape = (4, self.books, 6) if self.books > 1 else (4, 6)
        return torch.randint(12, shape, generator=self._seeded(3))

    def test_gives_what_its_config_says(self, generator):
        output = generator.generate(**self.source(), **self.quick)
        assert output.mask.shape == (4, output.values.shape[-1]) and output.values.shape[-1] <= 7
        assert (output.values < 12).all()

    def test_batched_equals_single(self, generator):
        whole = generator.generate(**self.source(), **self.quick)
        for i in range(4):
            one = generator.generate(source=self.source()["source"][i : i + 1], **self.quick)
            length = int(one.mask.sum())
            assert length == int(whole.mask[i].sum())
            assert torch.equal(one.values[0, ..., :length], whole.values[i, ..., :length])

    def test_learns_when_to_end(self):
        torch.manual_seed(0)
        generator = self.make(condition_dropout=0.0)
        target, lengths = self.target(generator), torch.tensor([2, 6, 3, 5])
        mask = torch.arange(6) < lengths[:, None]
        optimizer = torch.optim.Adam(generator.parameters(), 1e-2)
        for _ in range(150):
            generator(target=target, target_mask=mask, **self.source()).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        output = generator.eval().generate(**self.source(), **self.quick)
        assert output.mask.sum(1).tolist() == lengths.tolist()
        for row, length in enumerate(lengths):
            assert torch.equal(output.values[row, ..., :length], target[row, ..., :length])


class TestCodebooksOfAnyLength(TestCodesOfAnyLength):
    books = 2


class TestDelayedCodebooksOfAnyLength(TestCodesOfAnyLength):
    order, books = "delay", 2


class TestGPT2WithClasses(AutoregressiveConformance):
    def make(self, **settings):
        return AutoregressiveGenerator.from_components(tiny.gpt2(), (3, 4), 12, num_classes=5, **settings)

    def source(self):
        return {"class_labels": torch.tensor([[0], [1], [2], [4]])}


@pytest.fixture
def prior():
    return tiny.code_prior((3, 4)).eval()


@pytest.fixture
def source():
    return dict(tiny.processor()(source=tiny.NAMES[:3]))


def test_loss_is_that_of_next_codes(prior, source):
    """Codes that the model makes greedily are likelier under its own loss than others."""
    greedy = prior.generate(**source, do_sample=False).values
    prior.config.condition_dropout = 0.0
    with torch.no_grad():
        assert prior(target=greedy, **source).loss < prior(target=(greedy + 1) % 12, **source).loss


def test_padding_does_not_count(prior, source):
    prior.config.condition_dropout = 0.0
    codes = torch.randint(12, (3, 3, 4))
    mask = torch.ones(3, 3, 4, dtype=torch.bool)
    mask[:, 2] = False
    other = codes.clone()
    other[:, 2] = (other[:, 2] + 1) % 12
    with torch.no_grad():
        one, two = (prior(target=c, target_mask=mask, **source).loss for c in (codes, other))
    assert one == two


def test_refuses_what_does_not_fit(prior, source):
    with pytest.raises(ValueError, match=r"64 positions, but codes \(vocabulary 12, shape 9 × 8\) needs 72"):
        tiny.code_prior((9, 8))
    with pytest.raises(ValueError, match="must be a language model of transformers, got a ViTConfig"):
        AutoregressiveGenerator.from_components(ViTConfig(), (2, 2), 12)
    with pytest.raises(ValueError, match="`target` has 15 places, more than the 12 of this generator"):
        prior(target=torch.zeros(3, 5, 3, dtype=torch.long), **source)
    with pytest.raises(ValueError, match="`prefix_vocabulary_size` has the language model read the text"):
        tiny.code_prior((3, 4), prefix_vocabulary_size=16)
    delayed = tiny.code_prior((2, 4), order="delay", num_codebooks=2)
    with pytest.raises(ValueError, match="`num_beams` must be 1 with `order` 'delay', got 2"):
        delayed.generate(**source, num_beams=2, do_sample=False)


def test_a_prefix_and_what_is_written_need_their_positions():
    prior = AutoregressiveGenerator.from_components(tiny.llama(max_position_embeddings=12), (3, 4), 12, tiny.bert())
    with pytest.raises(ValueError, match="LlamaModel has 12 positions, but a source and what is written take 13"):
        prior.generate(input_ids=torch.tensor([[2, 3]]))


@pytest.mark.parametrize("make", [tiny.t5, tiny.bart_both])
def test_starts_from_an_encoder_decoder_by_folder(make, tmp_path, source):
    """Both halves keep what they learned; only the tokens of the codes are new."""
    model = AutoModelForSeq2SeqLM.from_config(make())
    model.save_pretrained(tmp_path)
    prior = AutoregressiveGenerator.from_components(str(tmp_path), (3, 4), 12)
    assert all(p.requires_grad for p in prior.parameters())
    with torch.no_grad():
        expected = model.get_encoder().eval()(**source).last_hidden_state
        torch.testing.assert_close(prior.eval().source_encoder.encoder(**source).last_hidden_state, expected)
    theirs = {k: v for k, v in model.get_decoder().state_dict().items() if "embed_tokens" not in k}
    ours = prior.language_model.state_dict()
    assert theirs and all(torch.equal(ours[name], weight) for name, weight in theirs.items())


def test_bert_to_gpt2_by_folders(tmp_path):
    GPT2LMHeadModel(tiny.gpt2(add_cross_attention=False)).save_pretrained(tmp_path / "gpt2")
    BertModel(tiny.bert()).save_pretrained(tmp_path / "bert")
    expected = GPT2LMHeadModel.from_pretrained(tmp_path / "gpt2").transformer.h[0].attn.c_attn.weight
    prior = AutoregressiveGenerator.from_components(str(tmp_path / "gpt2"), (3, 4), 12, str(tmp_path / "bert"))
    assert torch.equal(prior.language_model.h[0].attn.c_attn.weight, expected)
    assert prior.language_model.config.add_cross_attention
    frozen = {name.split(".")[0] for name, p in prior.named_parameters() if not p.requires_grad}
    assert frozen == {"source_encoder"}


@pytest.mark.parametrize(
    "make, kind",
    [(tiny.gpt2, AutoModelForCausalLM), (tiny.llama, AutoModelForCausalLM), (tiny.t5, AutoModelForSeq2SeqLM)],
)
def test_codes_that_are_its_tokens_are_as_likely_as_before(make, kind, source):
    """With as many codes as tokens, a pretrained model keeps its embeddings and its head, in the right scale."""
    torch.manual_seed(0)
    model = kind.from_config(make()).eval()
    ids, vocabulary = torch.tensor([[3, 5, 2, 7]]), model.config.vocab_size
    prior = AutoregressiveGenerator.from_components(
        model,
        (None,),
        vocabulary,
        max_places=6,
        prefix_vocabulary_size=None if model.config.is_encoder_decoder else vocabulary,
    ).eval()
    with torch.no_grad():
        text = {"input_ids": ids[:, :2]}
        if model.config.is_encoder_decoder:
            expected = model(**text, decoder_input_ids=torch.tensor([[0, 4, 6]])).logits[0]
            written = torch.tensor([[[vocabulary + 1, 4, 6]]])
        else:
            expected = model(input_ids=torch.tensor([[3, 5, 4, 6]])).logits[0, 2:]
            written = torch.tensor([[[4, 6]]])
        condition = prior._read(dict(text))
        if not model.config.is_encoder_decoder:  # the prefix, and what follows, without the start between them
            embeddings = prior.language_model.get_input_embeddings()
            inputs = torch.cat([condition.hidden, embeddings(written[:, 0])], dim=1)
            states = prior.language_model(inputs_embeds=inputs).last_hidden_state[0, 2:]
        else:
            states = prior._hidden_states(written, 0, condition).last_hidden_state[0]
        found = torch.nn.functional.linear(states, prior.head.weight[:vocabulary])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def gpt2_alone(**settings):
    return tiny.gpt2(vocab_size=16, add_cross_attention=False, **settings)


@pytest.mark.parametrize("make", [gpt2_alone, tiny.llama])
def test_a_plan_in_its_own_tokens_is_read_by_the_language_model(make, tmp_path):
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(make(bos_token_id=1, eos_token_id=2)).save_pretrained(tmp_path)
    model, text = AutoModelForCausalLM.from_pretrained(tmp_path).eval(), RepresentationSpec((None,), 16)
    settings = {"prefix_vocabulary_size": 16, "reads_codes": True, "max_places": 8, "condition_dropout": 0.0}
    decoder = AutoregressiveGenerator.for_spec(str(tmp_path), text, text, **settings).eval()
    plan, written = torch.tensor([[3, 5, 7]]), torch.tensor([[4, 6]])
    with torch.no_grad():
        logits = model(torch.tensor([[3, 5, 7, 1, 4, 6]])).logits[0, 3:]  # the plan, the start, the text
        expected = torch.nn.functional.cross_entropy(_and_the_end(logits), torch.tensor([4, 6, 16]))
        found = decoder(target=written, target_mask=torch.ones(1, 2, dtype=torch.bool), source=plan).loss
        padded = {"source": torch.tensor([[3, 5, 7, 0]]), "source_mask": torch.tensor([[True, True, True, False]])}
        shorter = decoder(target=written, target_mask=torch.ones(1, 2, dtype=torch.bool), **padded).loss
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(shorter, expected, rtol=1e-4, atol=1e-5)
    assert decoder.source_encoder.representation_embedding is None
    with pytest.raises(ValueError, match="`source` is missing: the language model of this generator reads the codes"):
        decoder.generate(batch_size=1)


def _and_the_end(logits: torch.Tensor) -> torch.Tensor:
    """Those of all tokens, and after them once more that of the token 2, by which the model ends."""
    return torch.cat([logits, logits[:, 2:3]], dim=1)


def test_hosts_language_models_and_no_masked_ones():
    codes, floats = RepresentationSpec((4,), 12), RepresentationSpec((4,))
    for config, hosted in (
        (tiny.gpt2(), True),
        (tiny.llama(), True),
        (tiny.t5(), True),
        (tiny.bart_both(), True),
        (tiny.bert(), False),
    ):
        assert AutoregressiveGenerator.hosts(config.to_dict(), codes) is hosted
        assert not AutoregressiveGenerator.hosts(config.to_dict(), floats)


def test_as_many_places_as_there_are_positions():
    def places(decoder, shape, **settings):
        return AutoregressiveGenerator.from_components(decoder, shape, 12, num_classes=2, **settings).config.max_places

    assert places(tiny.gpt2(), (None,)) == 63
    assert places(tiny.gpt2(), (3, None), num_codebooks=3) == 21
    assert places(tiny.gpt2(), (3, None), num_codebooks=3, order="delay") == 61
    assert places(tiny.t5(), (None,)) == places(tiny.llama(max_position_embeddings=131072), (None,)) == 1500
    assert places(tiny.t5(), (3, None), num_codebooks=3) == 1500
    assert places(tiny.gpt2(), (None,), max_places=5) == 5


def test_a_model_in_half_precision_is_trained_in_one_dtype(tmp_path):
    """transformers loads a model in the dtype in which it was saved."""
    LlamaForCausalLM(tiny.llama()).to(torch.bfloat16).save_pretrained(tmp_path / "llama")
    BertModel(tiny.bert()).to(torch.bfloat16).save_pretrained(tmp_path / "bert")
    folders = str(tmp_path / "llama"), str(tmp_path / "bert")
    prior = AutoregressiveGenerator.from_components(folders[0], (3, 4), 12, folders[1])
    assert {p.dtype for p in prior.parameters()} == {torch.float32}


def test_padding_among_the_tokens_of_a_model_is_no_padding_among_codes(tmp_path):
    """Neither does a code lose its gradient, nor does a model fail to be rebuilt for fewer tokens than it had."""
    bart = AutoregressiveGenerator.from_components(tiny.bart_both(), (3, 4), 12)
    bart(target=torch.ones(1, 3, 4, dtype=torch.long), input_ids=torch.tensor([[2, 3]])).loss.backward()
    assert bart.language_model.get_input_embeddings().weight.grad[1].abs().sum() > 0
    llama = AutoregressiveGenerator.from_components(tiny.llama(pad_token_id=15), (2, 2), 3, tiny.bert())
    llama.save_pretrained(tmp_path)
    assert AutoModel.from_pretrained(tmp_path).language_model.config.pad_token_id is None


def test_a_tokenizer_with_fewer_ids_than_the_model_has_rows():
    model = AutoModelForSeq2SeqLM.from_config(tiny.t5())
    expected = model.shared.weight.detach().clone()
    prior = AutoregressiveGenerator.from_components(model, (None,), 14, shares_vocabulary=True, max_places=6)
    torch.testing.assert_close(prior.language_model.get_input_embeddings().weight[:14], expected[:14])


def test_alignment_is_a_further_loss_by_which_the_source_tells_the_codes():
    codes = torch.randint(12, (4, 6))
    given = {"target": codes, "source": codes.repeat_interleave(2, dim=1)}
    plain, aligned, twice = (reading_out(alignment_weight=weight).eval() for weight in (0.0, 0.5, 1.0))
    assert plain(**given).terms.keys() == {"cross_entropy"}
    terms = aligned(**given).terms
    assert terms["alignment"].item() == pytest.approx(twice(**given).terms["alignment"].item() / 2, rel=1e-4)
    logits = aligned.alignment_head(aligned.source_encoder(source=given["source"]).hidden)
    wanted = torch.nn.functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1), codes, torch.full((4,), 12), torch.full((4,), 6), blank=12
    )
    assert terms["alignment"].item() == pytest.approx(0.5 * wanted.item(), rel=1e-4)
    aligned(**given).loss.backward()
    assert aligned.alignment_head.weight.grad.abs().sum() > 0


def test_source_noise_perturbs_in_training_only():
    codes, generator = torch.randint(12, (4, 20)), reading_out(source_noise=0.3)

    def losses() -> set[float]:
        torch.manual_seed(0)
        return {round(generator(target=codes, source=codes).loss.item(), 5) for _ in range(4)}

    generator.train()
    for module in generator.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    assert len(losses()) == 4
    generator.eval()
    assert len(losses()) == 1


def test_alignment_and_source_noise_need_codes_in_a_row():
    with pytest.raises(ValueError, match=r"`alignment_weight` needs one codebook in a row, got .*shape 3 × 4"):
        tiny.code_prior((3, 4), alignment_weight=0.3)
    continuous = {"source_num_codes": None, "source_shape": (4, None)}
    for wrong in (
        {"source_noise": 0.6},
        {"source_noise": 0.1, **continuous},
        {"source_noise": 0.1, "source_shape": (9,)},
    ):
        with pytest.raises(ValueError, match=r"`source_noise` must be in \[0, 0.5\), and above 0 for a source of any"):
            reading_out(**wrong)


@pytest.mark.parametrize("order", ["delay", "interleave"])
@pytest.mark.parametrize("decoder", [tiny.llama, tiny.bart])
def test_beside_its_source_a_target_is_as_long_as_it_and_sees_no_later_place(order, decoder):
    generator, codes = beside(decoder(), order), torch.randint(9, (3, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(6) < torch.tensor([6, 4, 1])[:, None]
    made = generator.generate(source=codes, source_mask=mask, do_sample=False)
    assert made.values.shape == (3, 2, 6) and torch.equal(made.mask, mask)
    assert not made.values.masked_fill(mask[:, None], 0).any() and made.values.max() < 12
    uncached = generator.generate(source=codes, source_mask=mask, do_sample=False, use_cache=False)
    assert torch.equal(uncached.values, made.values)
    target, other = torch.randint(12, (3, 2, 6)), codes.clone()
    other[:, 4] = (other[:, 4] + 1) % 9
    if decoder is tiny.llama:  # without cross-attention
        tokens, _ = generator._order.tokens(target, None, False)
        with torch.no_grad():
            one, two = (
                generator._hidden_states(tokens, 0, generator._read({"source": each})).last_hidden_state
                for each in (codes, other)
            )
        differs = (one - two).abs().amax((0, 2)) > 1e-6
        first = {"delay": 4, "interleave": 8}[order]
        assert differs.tolist() == [place >= first for place in range(tokens.shape[2])]


def test_beside_its_source_a_target_is_learned_place_by_place():
    generator, codes = beside(tiny.llama(num_hidden_layers=2), stride=2), torch.randint(9, (4, 7))
    target, optimizer = torch.randint(12, (4, 2, 4)), torch.optim.AdamW(generator.parameters(), 1e-2)
    generator.train()
    for _ in range(120):
        generator(target=target, source=codes).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(generator.eval().generate(source=codes, do_sample=False).values, target)


def test_beside_its_source_refuses_another_length():
    with pytest.raises(ValueError, match="the source has 3 places by its `source_stride`, but the target 4"):
        beside(stride=2)(target=torch.zeros(1, 2, 4, dtype=torch.long), source=torch.zeros(1, 6, dtype=torch.long))
    with pytest.raises(ValueError, match="the source has 17 places, more than the 16 of this generator"):
        beside().generate(source=torch.zeros(1, 17, dtype=torch.long))
    with pytest.raises(ValueError, match="`source_stride` must be None or a whole number of at least 1, got 0"):
        beside(stride=0)
    with pytest.raises(ValueError, match="`source_stride` needs a source encoder, but with `prefix_vocabulary_size`"):
        beside(prefix_vocabulary_size=16)
    with pytest.raises(
        ValueError, match="`source_stride` needs one kind of source that has places, got .'num_classes'"
    ):
        beside(num_classes=3)
    with pytest.raises(ValueError, match="`source_noise` moves the places of a source"):
        beside(source_noise=0.1)
    with pytest.raises(ValueError, match="the mask of the source must be true first and then false"):
        mask = torch.tensor([[False, True]])
        beside().generate(source=torch.zeros(1, 2, dtype=torch.long), source_mask=mask)
    with pytest.raises(ValueError, match="`reads_codes` needs a source of `prefix_vocabulary_size` codes in a row"):
        beside(stride=None, prefix_vocabulary_size=16, reads_codes=True)


def copying(ties_head: bool, **settings) -> AutoregressiveGenerator:
    torch.manual_seed(0)
    return AutoregressiveGenerator.from_components(
        tiny.lfm2(tie_word_embeddings=True), (None,), 15, source_shape=(None,), source_num_codes=15, max_places=8,
        prefix_vocabulary_size=15, reads_codes=True, shares_vocabulary=True, ties_head=ties_head, condition_dropout=0.0,
        **settings,
    )  # fmt: skip


def test_a_tied_head_is_the_embeddings_that_codes_are_read_with(tmp_path):
    tied, untied = copying(True), copying(False)
    width = 16
    assert untied.num_parameters() - tied.num_parameters() == 16 * width  # 15 codes and an end
    codes = torch.tensor([[3, 4, 5]])
    before = tied(target=codes, source=codes).loss
    with torch.no_grad():
        tied.language_model.get_input_embeddings().weight[7] *= 50
    assert tied(target=codes, source=codes).loss != before  # 7 is not read here, but could be written
    tied.save_pretrained(tmp_path)
    back = AutoModel.from_pretrained(tmp_path)
    torch.testing.assert_close(back(target=codes, source=codes).loss, tied.eval()(target=codes, source=codes).loss)


def test_several_codebooks_after_a_text_are_written_with_their_own_embeddings():
    prior = AutoregressiveGenerator.from_components(
        tiny.lfm2(), (2, 3), 5, num_codebooks=2, prefix_vocabulary_size=16, ties_head=True
    )
    (codes, end), table = prior._tied_rows(), prior.language_model.get_input_embeddings().weight
    assert len(table) == 27 and torch.equal(codes, table[16:26]) and torch.equal(end, table[26:])


def test_a_head_that_is_not_the_embeddings_cannot_be_tied():
    given = {"target_shape": (4,), "num_codes": 16, "prefix_vocabulary_size": 16, "shares_vocabulary": True}
    with pytest.raises(ValueError, match="`ties_head` needs a language model whose head is its embeddings; Lfm2For"):
        AutoregressiveGenerator.from_components(tiny.lfm2(tie_word_embeddings=False), ties_head=True, **given)


def test_what_is_written_does_not_depend_on_how_much_padding_a_plan_has():
    """Not even by convolutions, which would see it if it stood between the plan and what is written."""
    decoder = copying(True).eval()
    codes, mask = torch.tensor([[3, 4, 5, 0, 0, 0]]), torch.tensor([[1, 1, 1, 0, 0, 0]], dtype=torch.bool)
    loss = decoder(target=codes[:, :3], source=codes[:, :3]).loss
    for padded in ((codes, mask), (codes.roll(3), mask.roll(3)), (codes.roll(1), mask.roll(1))):
        torch.testing.assert_close(decoder(target=codes[:, :3], source=padded[0], source_mask=padded[1]).loss, loss)
    guided = AutoregressiveGenerator.from_components(
        tiny.lfm2(), (None,), 15, source_shape=(None,), source_num_codes=15, max_places=8
    ).eval()  # fmt: skip
    for generator, guidance in ((decoder, 1.0), (guided, 3.0)):
        asked = {"guidance": guidance, "do_sample": False}
        alone = generator.generate(source=codes[:, :3], **asked)
        padded = generator.generate(source=codes, source_mask=mask, **asked)
        assert alone.values.tolist() == padded.values.tolist()


def test_a_batch_size_beside_the_target_is_refused():
    source = tiny.processor()(source=tiny.NAMES[:3])
    with pytest.raises(ValueError, match="as many rows, got .*`batch_size` 9"):
        tiny.code_prior((3, 4))(target=torch.zeros(3, 3, 4).long(), batch_size=9, **source)
