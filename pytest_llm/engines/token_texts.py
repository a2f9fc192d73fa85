"""The text of a single token."""

from __future__ import annotations

from typing import Any

from pytest_llm.engines.prompts import encode


class TokenTexts(dict[int, str]):
    """What each token of a tokenizer adds to a text: ``texts[token]``; found once a token, 10 us.

    A token alone does not show it: SentencePiece drops the space that starts a text, so that ``▁cat`` and ``cat`` read
    the same, and WordPiece and word-level vocabularies hold no spaces, but put them between words. So a token is
    decoded behind another one. (Of byte-level BPE the result is what a token decodes to alone.) A byte that is only a
    part of a character is U+FFFD. A special token has no text, and stands here by its name.
    """

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self._decode = tokenizer.decode
        self._special = frozenset(tokenizer.all_special_ids)
        self._before = encode(tokenizer, "a", special=False)
        self._start: str = self._decode(self._before)

    def __missing__(self, token: int) -> str:
        behind: str = self._decode([*self._before, token])
        added = token not in self._special and behind.startswith(self._start)
        self[token] = behind[len(self._start) :] if added else self._decode([token])
        return self[token]
