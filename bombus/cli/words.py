"""The words after a verb, in bpftool's grammar: keywords may be shortened, numbers are C's.

Source: Linux 6.1 tools/bpf/bpftool/main.c (is_prefix, detect_common_prefix), behaviour.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bombus.errors import UsageError

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")


def is_prefix(word: str, keyword: str) -> bool:
    """Whether a word stands for a keyword: it is the keyword or its beginning."""
    return bool(word) and keyword.startswith(word)


def c_number(text: str, what: str, *, bits: int = 32, base: int = 0) -> int:
    """An unsigned number as C writes it (0x1f, 017, 15; base 16: hexadecimal with or without 0x).

    UsageError for anything else and for numbers of more than `bits` bits.
    """
    if base == 16:
        digits = text[2:] if text[:2] in ("0x", "0X") else text
        good = bool(digits) and all(c in "0123456789abcdefABCDEF" for c in digits)
        number = int(digits, 16) if good else 0
    else:
        good = _NUMBER.fullmatch(text) is not None
        number = int(text, 8 if good and text[0] == "0" and text[1:2].isdigit() else 0) if good else 0
    if not good:
        raise UsageError(f"can't parse {text!r} as {what}")
    if number >> bits:
        raise UsageError(f"{what} {text} does not fit {bits} bits")
    return number


class Words:
    """A cursor over the words of a command."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = list(words)
        self._at = 0

    def __len__(self) -> int:
        return len(self._words) - self._at

    def peek(self, ahead: int = 0) -> str:
        """The next word (or one further on); "" at the end."""
        at = self._at + ahead
        return self._words[at] if at < len(self._words) else ""

    def take(self, what: str) -> str:
        """The next word, whatever it is. UsageError naming `what` when there is none."""
        if not self:
            raise UsageError(f"{what} is missing")
        self._at += 1
        return self._words[self._at - 1]

    def looking_at(self, *keywords: str) -> bool:
        return any(is_prefix(self.peek(), keyword) for keyword in keywords)

    def accept(self, *keywords: str) -> str:
        """The first of the keywords that the next word stands for, and go on; "" when it is none of them."""
        word = self.peek()
        for keyword in keywords:
            if is_prefix(word, keyword):
                self._at += 1
                return keyword
        return ""

    def accept_clear(self, *keywords: str) -> str:
        """As `accept`, but UsageError for a word that could be several of them."""
        word = self.peek()
        fit = [keyword for keyword in keywords if is_prefix(word, keyword)]
        if len(fit) > 1 and word not in fit:
            raise UsageError(f"ambiguous prefix: {word!r} could be {' or '.join(map(repr, fit))}")
        return self.accept(*([word] if word in fit else keywords))

    def expect(self, *keywords: str) -> str:
        """The next word must stand for one of these."""
        found = self.accept(*keywords)
        if not found:
            self.refuse(*keywords)
        return found

    def refuse(self, *keywords: str) -> None:
        """UsageError that says what could have been here."""
        wanted = " or ".join(filter(None, (", ".join(map(repr, keywords[:-1])), *map(repr, keywords[-1:]))))
        if not self:
            raise UsageError(f"expected {wanted}, got nothing")
        raise UsageError(f"expected {wanted}, got {self.peek()!r}")

    def number(self, what: str, *, bits: int = 32) -> int:
        return c_number(self.take(what), what, bits=bits)

    def end(self, *keywords: str) -> None:
        """UsageError unless all words are used. keywords: what could have come instead."""
        if self:
            also = f", or {', '.join(map(repr, keywords))}" if keywords else ""
            raise UsageError(f"expected no more arguments{also}, got {self.peek()!r}")
