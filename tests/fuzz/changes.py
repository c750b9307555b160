"""Files that are nearly right: seeds, with bytes, numbers, words or values changed."""

import copy
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import yaml
from hypothesis import strategies as st

Strategy = st.SearchStrategy[bytes]

# Where arithmetic ends: as many bytes, in either order.
NUMBERS = [
    value.to_bytes(width, order)
    for width in (1, 2, 4, 8)
    for value in (0, 1, (1 << 8 * width - 1) - 1, 1 << 8 * width - 1, (1 << 8 * width) - 1)
    for order in ("little", "big")
]
WORDS = [
    b"", b"\0", b"\n", b"\r\n", b"\xff", b"\xed\xa0\x80", b"\x1b[31m", b"\xe2\x80\xae", b'"', b"'", b"\\", b"{", b"}",
    b"[", b"]", b":", b",", b"-", b"#", b"%", b"&a ", b"*a", b"!!", b"|", b"../", b"/", b"~", b"1e999", b"-0", b"NaN",
    b"Infinity", b"9" * 50, b"null", b"true", b"A" * 2000, b"[" * 200, b"<<: ", b"\xe2\x80\xa8", b"=", b"@", b"0x10",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**40, 0.0, -0.0, 1e308, 1e-320, 0.5, "", " ", "a",
    "0", "\0", "\x1b[31m", "\u202e", "é", "../x", "/dev/zero", "x" * 2000, "nan", ".inf", "1/3", "2026-02-31",
    [], [[]], {}, [None], {"": ""}, {"a": {"a": {"a": {}}}}, ["a", "a"], "input", "mixture", "vocals",
]  # fmt: skip


@st.composite
def _edited(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A seed with up to eight edits of its bytes."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(("number", "word", "byte", "cut", "remove", "repeat", "splice", "token")))
        start = draw(st.integers(0, max(len(content), 1))) % (len(content) + 1)
        length = draw(st.sampled_from((1, 2, 4, 8, 16, 64, 512)))
        if kind == "number":
            number = draw(st.sampled_from(NUMBERS))
            content[start : start + len(number)] = number
        elif kind == "word":
            content[start:start] = draw(st.sampled_from(WORDS))
        elif kind == "byte":
            content[start : start + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "cut":
            del content[start:]
        elif kind == "remove":
            del content[start : start + length]
        elif kind == "repeat":
            content[start:start] = content[start : start + length] * draw(st.sampled_from((1, 2, 100)))
        elif kind == "splice":
            other = draw(st.sampled_from(seeds))
            at = draw(st.integers(0, max(len(other), 1))) % (len(other) + 1)
            content[start:] = other[at:]
        elif tokens := re.findall(rb"[\w.+-]+", bytes(content[:20_000])):
            one, other = draw(st.sampled_from(tokens)), draw(st.sampled_from([*tokens, *WORDS]))
            content = bytearray(bytes(content).replace(one, other, draw(st.sampled_from((1, -1)))))
    return bytes(content)


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every place in a document: (what holds it, key or index)."""
    keys = (
        document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    )
    found = [(document, key) for key in keys]
    for holder, key in list(found):
        found += _places(holder[key])
    return found


@st.composite
def _revised(
    draw: st.DrawFn, seeds: Sequence[bytes], read: Callable[[bytes], Any], write: Callable[[Any], str]
) -> bytes:
    """A seed's document with up to four values replaced, renamed, removed, doubled or nested."""
    document = read(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        places = _places(document)
        if not places:
            break
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        kind = draw(st.sampled_from(("value", "remove", "rename", "nest", "copy")))
        if kind == "value":
            holder[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))  # what comes next may change it
        elif kind == "remove":
            del holder[key]
        elif kind == "nest":
            holder[key] = draw(
                st.sampled_from(([holder[key]], {"a": holder[key]}, [holder[key], holder[key]]))
            )
        elif kind == "copy":
            other, of = places[draw(st.integers(0, len(places) - 1))]
            if (isinstance(other, dict) and of in other) or (isinstance(other, list) and of < len(other)):
                holder[key] = read(write(other[of]).encode(errors="surrogatepass"))
        elif isinstance(holder, dict):
            holder[draw(st.sampled_from(("", "a", "name", "x" * 200, "\0", "forms")))] = holder.pop(key)
    return write(document).encode(errors="surrogatepass")


def of_bytes(seeds: Sequence[bytes]) -> Strategy:
    """Any file: edited seeds, and now and then bytes without a seed."""
    return st.one_of(_edited(seeds), _edited(seeds), st.binary(max_size=200))


def of_json(seeds: Sequence[bytes]) -> Strategy:
    """JSON: revised and edited seeds."""
    return st.one_of(_revised(seeds, json.loads, json.dumps), of_bytes(seeds))


def of_yaml(seeds: Sequence[bytes]) -> Strategy:
    """YAML: revised and edited seeds."""

    def write(document: Any) -> str:
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)

    return st.one_of(_revised(seeds, yaml.safe_load, write), of_bytes(seeds))
