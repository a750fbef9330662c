"""Plan-and-Write (Yao et al., 2019): title → keywords → story, by two GPT-2 in the place of its recurrent networks.

The keywords are the rarer tokens of the story: a GPT-2 token with a higher number was merged later, so is rarer.
"""

from rules import TokenRuleExtractor

from regen_hf import AutoregressiveGenerator, RegenerationModel

GPT2 = "openai-community/gpt2"


def build(planner=GPT2, writer=GPT2, num_words=50_257, rare_from=5_000, max_places=(128, 512)) -> RegenerationModel:
    plan = TokenRuleExtractor.from_components(num_codes=num_words, keep_from=rare_from)
    story, keywords = plan.config.target_spec, plan.config.representation_spec
    prior = AutoregressiveGenerator.for_spec(
        planner, keywords, None, prefix_vocabulary_size=num_words, max_places=max_places[0]
    )
    decoder = AutoregressiveGenerator.for_spec(
        writer, story, keywords, prefix_vocabulary_size=num_words, reads_codes=True, max_places=max_places[1]
    )
    return RegenerationModel.from_components(plan, prior, decoder)
