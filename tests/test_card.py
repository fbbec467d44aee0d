"""The social card: what is committed, and how it is made again."""

import struct

import pytest
from bookbinder import card
from bookbinder.book import Book
from test_sync import ROOT

from conftest import lack


def test_the_card_has_the_size_that_its_tags_say():
    data = (ROOT / card.CARD).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    size = struct.unpack(">II", data[16:24])
    assert size == (card.SIZE["width"], card.SIZE["height"])
    tags = Book(ROOT).settings["sphinx"]["config"]["ogp_custom_meta_tags"]
    assert any(f'width" content="{size[0]}"' in tag for tag in tags)
    assert any(f'height" content="{size[1]}"' in tag for tag in tags)


def test_without_the_sites_letters_it_says_what_to_run(tmp_path):
    with pytest.raises(ValueError, match="run `make vendor`"):
        card.draw(tmp_path)


@pytest.mark.slow
def test_the_card_is_drawn_again(tmp_path):
    if not (ROOT / "book/vendor/fonts").is_dir():
        lack("no book/vendor: install Node.js, then `make vendor`")
    figures = tmp_path / "book" / "figures"
    figures.mkdir(parents=True)
    (tmp_path / "book/vendor").symlink_to(ROOT / "book/vendor")
    logo = (ROOT / "book/figures/logo.svg").read_bytes()
    (figures / "logo.svg").write_bytes(logo)
    try:
        assert card.CARD in card.draw(tmp_path)
    except ValueError as error:
        lack(str(error))
    assert (figures / "card.png").stat().st_size > 10_000
