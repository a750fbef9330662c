from runs import run


def test_the_card_says_how_it_was_trained(tmp_path):
    run(tmp_path, samples=["red heart"])
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Examples: 24 pairs." in card and "| prior | 6 |" in card and "pipe('red heart')" in card
