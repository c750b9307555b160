"""Text of files that do not say in which code page it is: ID3v1, RIFF, and ID3v2 that says Latin-1 and is not."""

import re

_PLAIN = frozenset(" «»„“”‘’–—…№·•\u00a0")
_PAIRS = re.compile(rb"[\x80-\xff]{2,}")
_WORD = re.compile(r"[^\W\d_]+")
_KANA = re.compile("[぀-ヿ]")
_CYRILLIC = re.compile("[А-Яа-яЁёІіЇїЄєҐґЎў]+")


def readable(raw: bytes) -> str:
    """The text that bytes most probably are.

    UTF-8 where they can be. Else by what its letters look like: Latin text has few letters with accents among
    plain ones, while in the code pages of other scripts nearly every letter is a high byte. Of those, Cyrillic
    (cp1251, koi8-r), Japanese (cp932) and Chinese (gb18030) are told by what they make of it; where none makes sense,
    it is Latin (cp1252).
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    in_pairs = sum(map(len, _PAIRS.findall(raw)))
    plain_letters = len(re.findall(rb"[A-Za-z]", raw))
    if not re.search(rb"[\x80-\x9f]", raw) and (in_pairs < 2 or in_pairs < plain_letters):
        return raw.decode("latin-1")  # where 0x80 to 0x9f are no letters
    for page, is_likely in (
        ("cp1251", _is_cyrillic), ("koi8-r", _is_cyrillic), ("cp932", _is_japanese), ("gb18030", _is_chinese)
    ):  # fmt: skip
        try:
            text = raw.decode(page)
        except UnicodeDecodeError:
            continue
        if is_likely(text):
            return text
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def repaired(text: str) -> str:
    """Text that was read as Latin-1; unchanged where it cannot have been."""
    try:
        return readable(text.encode("latin-1")) if not text.isascii() else text
    except UnicodeEncodeError:
        return text


def _is_cyrillic(text: str) -> bool:
    """Words of Cyrillic letters alone, in small letters after the first, or all in capitals."""
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    others = {letter for letter in text if not letter.isascii() and not letter.isalpha()}
    return (
        sum(map(len, words)) > 1
        and others <= _PLAIN
        and all(
            _CYRILLIC.fullmatch(word) and (word[1:] == word[1:].lower() or word == word.upper())
            for word in words
        )
    )


def _is_japanese(text: str) -> bool:
    """Kana, or mostly Chinese characters that are common enough to be in the first level of the standard."""
    others = [letter for letter in text if not letter.isascii()]
    if any("｡" <= letter <= "ﾟ" for letter in others):
        return False  # half-width: what bytes of other pages look like
    plain_letters = sum(letter.isascii() and letter.isalpha() for letter in text)
    return bool(_KANA.search(text)) or (all(map(_level_1, others)) and len(others) > plain_letters)


def _level_1(letter: str) -> bool:
    return "一" <= letter <= "鿿" and letter.encode("cp932") < b"\x98\x9f"


def _is_chinese(text: str) -> bool:
    """Characters of the older and smaller standard, common ones."""
    others = [letter for letter in text if not letter.isascii()]
    try:
        return all("一" <= letter <= "鿿" and letter.encode("gb2312") < b"\xd8" for letter in others)
    except UnicodeEncodeError:
        return False
