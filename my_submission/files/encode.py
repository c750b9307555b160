"""Stems as files: written under a temporary name, checked, then renamed, so that no partial file is ever visible."""

import contextlib
import os
import shutil
from pathlib import Path
from types import TracebackType

from torch import Tensor

from my_submission.files.errors import OutputExists, OutputFailed
from my_submission.files.formats import Encoding
from my_submission.files.placing import exists_message
from my_submission.files.sinks import Sink, SinkFailed, open_sink
from my_submission.files.tags import Tags, Unwritable, write_tags

_INFO = ("title", "artist", "album", "date", "genre", "tracknumber", "comment", "copyright")


class AudioWriter:
    """An output file while it is written; a context manager that leaves nothing unless `publish` was called.

    temporary: its name until then, in the folder of `target`, which must exist.
    Raises OutputFailed if it cannot be written.
    """

    def __init__(
        self,
        target: Path,
        temporary: Path,
        encoding: Encoding,
        sample_rate: int,
        channels: int,
        samples: int,
        tags: Tags,
    ) -> None:
        self.target = target
        self._temporary = temporary
        self._sink: Sink | None = None
        self._format, self._tags = encoding.format, tags
        try:
            temporary.touch(exist_ok=False)
            self._sink = open_sink(temporary, encoding, sample_rate, channels, samples, _info(tags))
        except (OSError, SinkFailed) as error:
            self.discard()
            reason = getattr(error, "strerror", None) or error
            raise OutputFailed(f"{target}: cannot be written: {reason}") from error

    def __enter__(self) -> "AudioWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def write(self, signal: Tensor) -> None:
        """Append (channels, samples) float32; within ±1 unless the encoding holds any level."""
        assert self._sink is not None
        try:
            self._sink.write(signal)
        except SinkFailed as error:
            raise self._failure() from error

    def finish(self) -> list[str]:
        """Close the file, and check that it can be opened and has the right length; OutputFailed otherwise.

        Which tags it cannot hold: none of them is worth its sound.
        """
        self._close()
        try:
            lost = write_tags(self._temporary, self._format, self._tags)
        except Unwritable as error:
            lost = [f"any ({error})"]
        if self._tags.texts or self._tags.pictures:
            self._close()
        return lost

    def _close(self) -> None:
        assert self._sink is not None
        try:
            self._sink.close()
            found, expected = self._sink.length()
        except SinkFailed as error:
            raise self._failure() from error
        if found != expected:
            raise self._failure()

    def publish(self, *, overwrite: bool) -> None:
        """Give the finished file its name. OutputExists if the name is taken and may not be overwritten."""
        if not overwrite and self.target.exists():
            raise OutputExists(exists_message(self.target))
        try:
            os.replace(self._temporary, self.target)
        except OSError as error:
            raise OutputFailed(f"{self.target}: cannot be written: {error.strerror}") from error

    def discard(self) -> None:
        """Remove what is not published."""
        if self._sink is not None:
            # On a full disk closing fails, too; what could not be flushed is thrown away anyway.
            with contextlib.suppress(SinkFailed):
                self._sink.close()
        with contextlib.suppress(OSError):  # a name that could not be made cannot be removed
            self._temporary.unlink()

    def _failure(self) -> OutputFailed:
        free = shutil.disk_usage(self.target.parent).free
        return OutputFailed(
            f"{self.target}: could not be written in full; {free / 1e6:.1f} MB are free on its disk"
        )


def _info(tags: Tags) -> dict[str, str]:
    """What a WAV has a place for beside its ID3 tag, which not every program reads; by libsndfile's names."""
    return {name: ", ".join(tags.texts[name]) for name in _INFO if name in tags.texts}
