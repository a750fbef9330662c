import warnings

import pytest
import tiny
from datasets import ClassLabel, Dataset, Features, Image, Value
from pairs import pairs
from PIL import Image as PILImage
from runs import arguments
from transformers import BertConfig, CLIPTextConfig, RobertaConfig, T5Config

from regen_hf import (
    AutoregressiveGenerator,
    CombinedModality,
    DiffusionGenerator,
    IdentityExtractor,
    ImageModality,
    LabelModality,
    RegenerationModel,
    RegenerationProcessor,
    TextModality,
    train_regenerator,
)
from regen_hf.stages import matching
from regen_hf.stages.matching import (
    check_lengths,
    check_source,
    check_target,
    check_target_lengths,
    warn_of_overlap,
)

NAMES = ["cat", "dog", "bird"]
ENCODER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
T5 = {"vocab_size": 16, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}


def model(encoder=None, **settings):
    backbone = tiny.sd3(tiny.IMAGE) if encoder else tiny.dit(tiny.IMAGE, settings["num_classes"])
    prior = DiffusionGenerator.from_components(backbone, tiny.IMAGE, encoder, **settings)
    return RegenerationModel.from_components(tiny.identity(), prior)


def processor(source):
    return RegenerationProcessor(source, ImageModality(16))


def text(words=8, max_length=4):
    return TextModality.from_words([" ".join(f"w{i}" for i in range(words))], max_length=max_length)


@pytest.mark.parametrize(("encoder", "words", "max_length", "message"), [
    (BertConfig(vocab_size=10, max_position_embeddings=8, **ENCODER), 8, 8, None),
    (BertConfig(vocab_size=10, max_position_embeddings=8, **ENCODER), 9, 8,
     "the processor gives 11 different `input_ids`, but DiffusionGenerator knows 10"),
    (BertConfig(vocab_size=10, max_position_embeddings=8, **ENCODER), 8, 9,
     "the processor gives 9 `input_ids` in a row, but DiffusionGenerator has 8 positions"),
    (RobertaConfig(vocab_size=10, max_position_embeddings=10, pad_token_id=1, **ENCODER), 8, 9, "9 .* 8 positions"),
    (CLIPTextConfig(vocab_size=10, max_position_embeddings=8, bos_token_id=0, eos_token_id=9, **ENCODER), 8, 9,
     "9 .* 8 positions"),
    (T5Config(**T5), 15, 4, "17 different `input_ids`, but DiffusionGenerator knows 16"),
    (T5Config(**T5), 8, 600, None),  # its positions are relative
])  # fmt: skip
def test_texts_that_a_model_cannot_read_are_told_with_both_numbers(encoder, words, max_length, message):
    made = model(encoder)
    if message is None:
        check_source(made, processor(text(words, max_length)), "w1 w2")
        return
    with pytest.raises(ValueError, match=message):
        check_source(made, processor(text(words, max_length)), "w1 w2")


def test_more_classes_than_a_model_has_are_told_with_both_numbers():
    made = model(num_classes=2)
    check_source(made, processor(LabelModality(NAMES[:2])), 1)
    with pytest.raises(ValueError, match="gives 3 different `class_labels`, but DiffusionGenerator knows 2"):
        check_source(made, processor(LabelModality(NAMES)), 0)
    both = CombinedModality(kind=LabelModality(NAMES), words=text())
    with pytest.raises(ValueError, match="gives 3 different `class_labels`, but DiffusionGenerator knows 2"):
        check_source(made, processor(both), {"kind": 0, "words": "w1"})


def test_a_language_model_that_reads_text_itself_knows_its_own_tokens():
    extractor = tiny.autoencoder_extractor(tiny.vq(), "codes")
    prior = AutoregressiveGenerator.from_components(tiny.llama(), (8, 8), 12, prefix_vocabulary_size=16)
    made = RegenerationModel.from_components(extractor, prior)
    check_source(made, processor(text(14)), "w1")
    with pytest.raises(ValueError, match="17 different `input_ids`, but AutoregressiveGenerator knows 16"):
        check_source(made, processor(text(15)), "w1")


def test_sources_of_another_kind_or_size_are_told():
    made = model(tiny.vit()).train()
    made.prior.source_encoder.image_encoder.eval()
    black = PILImage.new("RGB", (16, 16))
    check_source(made, processor(ImageModality(8)), black)
    assert made.prior.training and not made.prior.source_encoder.image_encoder.training
    with pytest.raises(ValueError, match=r"DiffusionGenerator cannot read what the processor makes .*16"):
        check_source(made, processor(ImageModality(16)), black)
    with pytest.raises(ValueError, match="`input_ids` is not taken"):
        check_source(made, processor(text()), "w1")


def test_a_larger_vocabulary_of_targets_is_told_with_both_numbers():
    extractor = IdentityExtractor.from_components(target_shape=[None], num_codes=8)
    made = RegenerationModel.from_components(extractor, tiny.code_prior((None,), 8))
    with pytest.raises(ValueError, match="target has a vocabulary of 12, but IdentityExtractor one of 8"):
        check_target(made, RegenerationProcessor(text(), text(10)), "w1")
    check_target(made, RegenerationProcessor(text(), text(6)), "w1")


def labelled(names, label=ClassLabel):
    features = Features({"label": label(names=names) if label is ClassLabel else label, "image": Image()})
    images = [PILImage.new("RGB", (16, 16))] * 3
    return Dataset.from_dict({"label": [0, 1, 2], "image": images}, features=features)


@pytest.mark.parametrize(("names", "theirs", "message"), [
    (NAMES, NAMES, None),
    ([*NAMES, "fish"], NAMES, None),
    (NAMES, ["0", "1", "2"], None),
    (["0", "1", "2"], NAMES, None),
    (["dog", "cat", "bird"], NAMES, "class 0 of the column 'label' is 'cat', but 'dog' to the processor"),
    (["cat", "dog", "fish"], NAMES, "class 2 of the column 'label' is 'bird', but 'fish' to the processor"),
    (["cat", "dog"], NAMES, "'label' has 3 classes, but the processor 2: 'cat', 'dog', 'bird' and 'cat', 'dog'"),
    (["fish", *NAMES], NAMES, "class 0 of the column 'label' is 'cat', but 'fish'"),
])  # fmt: skip
def test_the_names_of_classes_are_those_of_the_dataset(names, theirs, message):
    label = LabelModality(names)
    both = CombinedModality(kind=label)
    feature = ClassLabel(names=theirs)
    for modality, of_column in ((label, feature), (both, {"kind": feature, "other": Value("string")})):
        if message is None:
            modality.check_feature(of_column, "label")
        else:
            with pytest.raises(ValueError, match=message.replace("'label'", "'label(.kind)?'")):
                modality.check_feature(of_column, "label")
    label.check_feature(Value("string"), "label")


@pytest.mark.parametrize("where", ["dataset", "validation", "stream"])
def test_another_order_of_classes_is_refused_before_anything_is_trained(where, tmp_path):
    right, wrong = labelled(NAMES), labelled(NAMES[::-1])
    data = {"dataset": wrong, "stream": wrong.to_iterable_dataset()}.get(where, right)
    validation = wrong if where == "validation" else None
    with pytest.raises(ValueError, match="class 0 of the column 'label' is 'bird', but 'cat' to the processor"):
        train_regenerator(
            model(num_classes=3), processor(LabelModality(NAMES)), data, tmp_path, source_column="label",
            target_column="image", prior=arguments(2), validation=validation,
        )  # fmt: skip
    assert not list(tmp_path.glob("**/*.safetensors"))


def test_what_a_stage_does_not_read_is_not_asked_for(tmp_path):
    data = pairs().rename_column("text", "label")
    train_regenerator(
        tiny.latent_model(), processor(text(40)), data, tmp_path, source_column="label", target_column="image",
        extractor=arguments(2),
    )  # fmt: skip
    with pytest.raises(ValueError, match="different `input_ids`, but DiffusionGenerator knows 16"):
        train_regenerator(
            tiny.latent_model(), processor(text(40)), data, tmp_path / "prior", source_column="label",
            target_column="image", prior=arguments(2),
        )  # fmt: skip


def overlap(pairs, validation):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warn_of_overlap(pairs, validation, ["text", "image"])
    return [str(each.message).split(" are")[0] for each in told]


def test_validation_data_that_is_trained_on_is_counted(monkeypatch):
    rows = pairs().map(lambda row, i: {"text": f"{row['text']} {i}"}, with_indices=True)
    assert overlap(rows, rows) == ["24 of the 24 examples of `validation`"]
    assert overlap(rows.select(range(20)), rows.select(range(17, 24))) == ["3 of the 7 examples of `validation`"]
    assert overlap(rows.shuffle(0), rows.select([3]).flatten_indices()) == ["1 of the 1 examples of `validation`"]
    assert overlap(rows.select(range(12)), rows.select(range(12, 24))) == []
    assert overlap(rows.to_iterable_dataset(), rows) == []
    other = rows.map(lambda row: {"text": row["text"] + "!"})
    assert overlap(rows, other) == [] == overlap(other, rows)
    monkeypatch.setattr(matching, "ROWS", 30)
    assert overlap(rows, rows.select(range(12))) == [] and overlap(rows, rows)  # too many to look at each


def test_longer_targets_than_a_decoder_has_places_for_are_told_with_both_numbers():
    extractor = IdentityExtractor.from_components(target_shape=[None], num_codes=16)
    reads = {"source_shape": [None], "source_num_codes": 16, "max_places": 3}
    decoder = AutoregressiveGenerator.from_components(tiny.gpt2(), (None,), 16, **reads)
    made = RegenerationModel.from_components(extractor, tiny.code_prior((None,), 16), decoder)
    short, long = (Dataset.from_dict({"text": [text, "w1"]}) for text in ("w1 w2 w3", "w1 w2 w3 w4 w5"))
    both = RegenerationProcessor(text(), text(max_length=8))
    check_target_lengths(made, both, short, "text")
    with pytest.raises(ValueError, match="the longest target has 5 places, but AutoregressiveGenerator has 3: give it"):
        check_target_lengths(made, both, long, "text")
    check_target_lengths(made, RegenerationProcessor(text(), text(max_length=3)), long, "text")  # which cuts them
    check_lengths([1, 3], decoder, decoder.longest_target)
    with pytest.raises(ValueError, match="the longest Y′ has 4 places, but AutoregressiveGenerator has 3"):
        check_lengths([1, 4], decoder, decoder.longest_target)
    assert made.longest_target == 3 and tiny.lowres_model().longest_target is None
