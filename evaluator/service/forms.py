"""Forms with a file in them (multipart/form-data, RFC 7578), read as they come: small fields, and one large file."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from evaluator.service.errors import Refused

UNREADABLE = "The form cannot be read."
LONGEST_FIELD = 16 << 10
MOST_FIELDS = 30
MOST_OTHER_BYTES = 1 << 20  # of everything but the file: headers, fields, and what stands between them


@dataclass
class _Part:
    """What has come of a part: its headers, and the text of a field."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    header: bytes = b""
    name: str = ""
    filename: str | None = None
    text: bytearray = field(default_factory=bytearray)


@dataclass
class Form:
    """The fields that have come so far; filename: of the file, once it has begun."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None


class FormReader:
    """Reads a form: iterate over `blocks` for the bytes of its file, while `form` has the fields before it."""

    def __init__(self, request: Request) -> None:
        kind, options = parse_options_header(request.headers.get("content-type"))
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise Refused("Expected a form (multipart/form-data).", 400)
        self.form = Form()
        self._request = request
        self._part = _Part()
        self._came: list[bytes] = []
        self._ended = False
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._take_header_name,
                    "on_header_value": self._take_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._take_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError:  # such as for a boundary that is too long
            raise Refused(UNREADABLE, 400) from None

    async def blocks(self) -> AsyncIterator[bytes]:
        """The bytes of the file as they come; empty ones where fields come. Refused for what is no whole form."""
        other = 0
        try:
            async for chunk in self._request.stream():
                self._parser.write(chunk)
                came, self._came = self._came, []
                other += len(chunk) - sum(map(len, came))
                if other > MOST_OTHER_BYTES:
                    raise Refused(f"The form has more than {MOST_OTHER_BYTES} bytes beside its file.", 413)
                yield b"".join(came)
        except FormParserError:
            raise Refused(UNREADABLE, 400) from None
        if not self._ended:
            raise Refused("The form was cut short.", 400)

    def _begin_part(self) -> None:
        self._part = _Part()

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end].lower()

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        known = self._part.headers.get(self._part.header, b"")
        self._part.headers[self._part.header] = known + data[start:end]

    def _end_header(self) -> None:
        self._part.header = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._part.headers.get(b"content-disposition"))
        self._part.name = options.get(b"name", b"").decode(errors="replace")
        if b"filename" in options:
            if self.form.filename is not None:
                raise Refused("Found a second file, expected one.", 400)
            self.form.filename = self._part.filename = options[b"filename"].decode(errors="replace")

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.filename is not None:
            self._came.append(data[start:end])
            return
        self._part.text += data[start:end]
        if len(self._part.text) > LONGEST_FIELD or len(self.form.fields) >= MOST_FIELDS:
            raise Refused(f"The form has more fields, or longer ones, than {LONGEST_FIELD} bytes.", 413)

    def _end_part(self) -> None:
        if self._part.filename is None:
            self.form.fields[self._part.name] = self._part.text.decode(errors="replace")

    def _end(self) -> None:
        self._ended = True
