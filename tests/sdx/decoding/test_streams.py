"""Which stream is meant."""

import pytest

from sdx.decoding.streams import StreamInfo, choose

pytestmark = pytest.mark.quick


def info(number: int, channels: int = 2, language: str = "", *flags: str) -> StreamInfo:
    return StreamInfo(number, channels, 48_000, "aac", language, dispositions=frozenset(flags))


@pytest.mark.parametrize(
    ("streams", "chosen"),
    [
        ([info(1, 1, "", "comment"), info(2, 2, "", "default")], 2),
        ([info(1, 6), info(2, 2, "", "default")], 2),
        ([info(1, 2), info(2, 6)], 2),
        ([info(1, 2), info(2, 2)], 1),
        ([info(1, 2, "", "default"), info(2, 6, "", "default")], 2),
        ([info(1, 6, "", "default", "visual_impaired"), info(2, 2)], 2),
        ([info(1, 2, "", "comment")], 1),
    ],
)
def test_the_default_else_the_most_channels_and_commentary_last(
    streams: list[StreamInfo], chosen: int
) -> None:
    assert choose(streams, None).number == chosen


def test_a_number_or_a_language_chooses() -> None:
    streams = [info(1, 2, "eng"), info(2, 2, "deu"), info(3, 2, "eng", "comment")]
    assert [choose(streams, wanted).number for wanted in ("3", "deu")] == [3, 2]
    for wanted, found in {"4": "none", "fra": "none", "eng": "several", "": "none"}.items():
        with pytest.raises(
            ValueError, match=rf"found {found} .* there is: 1 \(stereo, 48000 Hz, aac, eng\), 2"
        ):
            choose(streams, wanted)
