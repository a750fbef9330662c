"""Options that all commands have: how each is given, where it is found, and what is found there then."""


def train_data(calls):
    return calls.data["train", "d"]


LOADED = ["--trust_remote_code"], lambda c: (c.model.trust_remote_code, c.processor.trust_remote_code), (True, True)
BY_NAME = ["--model", "user/m"], lambda calls: (calls.model.args, calls.processor.args), (("user/m",), ("user/m",))
OTHER_SPLIT = ["--split", "test"], lambda calls: list(calls.data), [("test", "d")]
CONFIGURED = ["--dataset_config", "de"], lambda calls: train_data(calls).config, "de"
STREAMED = ["--streaming"], lambda calls: train_data(calls).how["streaming"], True
