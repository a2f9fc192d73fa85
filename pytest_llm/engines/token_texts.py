"""The text of a single token."""

from __future__ import annotations

import re
from typing import Any

from pytest_llm.engines.prompts import encode

#: The bytes that byte-level BPE writes as they are, as Latin-1; it writes the others from U+0100 on, in order.
_PLAIN = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_BYTES = {chr(byte): byte for byte in _PLAIN} | {
    chr(0x100 + i): byte for i, byte in enumerate(sorted(set(range(0x100)) - set(_PLAIN)))
}


class TokenTexts(dict[int, str]):
    """What each token of a tokenizer adds to a text: ``texts[token]``; found once a token, 10 us.

    A token alone does not show it: SentencePiece drops the space that starts a text, so that ``▁cat`` and ``cat`` read
    the same, and WordPiece and word-level vocabularies hold no spaces, but put them between words. So a token is
    decoded behind another one. (Of byte-level BPE the result is what a token decodes to alone.) A byte that is only a
    part of a character is U+FFFD, but as `legible` has it. A special token has no text, and stands here by its name.
    """

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self._decode, self._name = tokenizer.decode, tokenizer.convert_ids_to_tokens
        self._special = frozenset(tokenizer.all_special_ids)
        self._before = encode(tokenizer, "a", special=False)
        self._start: str = self._decode(self._before)

    def __missing__(self, token: int) -> str:
        behind: str = self._decode([*self._before, token])
        added = token not in self._special and behind.startswith(self._start)
        self[token] = behind[len(self._start) :] if added else self._decode([token])
        return self[token]

    def legible(self, token: int) -> str:
        r"""Return the text of a token, in which bytes that are only a part of a character stand as ``\xe7``."""
        if "\ufffd" not in self[token]:
            return self[token]
        name: str = self._name(token)
        if re.fullmatch("<0x[0-9A-F]{2}>", name):  # SentencePiece's
            return bytes.fromhex(name[3:5]).decode("utf-8", "backslashreplace")
        if not _BYTES.keys() >= set(name):
            return self[token]
        return bytes(_BYTES[c] for c in name).decode("utf-8", "backslashreplace")
