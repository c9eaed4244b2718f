"""Multipart forms (RFC 7578) with one file, parsed while they come."""

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Dict, Iterator, List, Optional, Tuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.errors import BadRequest, WrongKind
from protocol.packets import printable

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_KIND = b"multipart/form-data"
_FILE = "file"
_PARTS = 100
_TEXT_BYTES = 64 * 1024
_HEADER_BYTES = 8 * 1024  # of a part, all together

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # older ones warn of each piece behind the last part


class FormParser:
    """What a form says, as far as it has come.

    Args:
        content_type: the header of that name.
        file: where the content of the part `file` goes; that of other files goes nowhere.

    Attributes:
        texts: names and values of the parts that are no files.
        filename: of the part `file`; None: it has not begun.
        is_complete: whether the form has come to its end.

    Raises:
        WrongKind: it is no form.
    """

    def __init__(self, content_type: str, file: BinaryIO) -> None:
        kind, options = parse_options_header(content_type)
        if kind != _KIND:
            raise WrongKind(
                f"Content-Type is {content_type or 'missing'}; expected multipart/form-data with a part named file"
            )
        self._file = file
        self.texts: List[Tuple[str, str]] = []
        self.filename: Optional[str] = None
        self.is_complete = False
        self._parts = 0
        self._part = _Part()
        boundary = options.get(b"boundary")
        if not boundary:
            raise BadRequest("the form cannot be read: Content-Type names no boundary")
        with _refusing():
            self._parser = MultipartParser(boundary, self._callbacks())

    def feed(self, data: bytes) -> None:
        """The next piece. Raises BadRequest, and OSError where the file takes no more."""
        if not self.is_complete:  # nobody reads what is behind the form
            with _refusing():
                self._parser.write(data)

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._part_begins,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_ends,
            "on_headers_finished": self._content_begins,
            "on_part_data": self._content,
            "on_part_end": self._part_ends,
            "on_end": self._ends,
        }

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > _PARTS:
            raise BadRequest(f"the form has more than {_PARTS} parts")
        self._part = _Part()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]
        self._check_header(end - start)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]
        self._check_header(end - start)

    def _check_header(self, count: int) -> None:
        self._part.header_bytes += count
        if self._part.header_bytes > _HEADER_BYTES:
            raise BadRequest(f"the form cannot be read: a part has headers of more than {_HEADER_BYTES} bytes")

    def _header_ends(self) -> None:
        part = self._part
        if part.header_name.lower() == b"content-disposition":
            _, part.options = parse_options_header(bytes(part.header_value))
        part.header_name, part.header_value = bytearray(), bytearray()

    def _content_begins(self) -> None:
        part = self._part
        if b"name" not in part.options:
            raise BadRequest("the form cannot be read: a part has no name")
        part.name = _decoded(part.options[b"name"])
        part.is_text = b"filename" not in part.options
        part.is_file = part.name == _FILE and not part.is_text
        if part.is_file:
            if self.filename is not None:
                raise BadRequest("file: there are several; send one", _FILE)
            self.filename = _decoded(part.options[b"filename"])

    def _content(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part.is_file:
            self._file.write(data[start:end])
        elif part.is_text:
            part.text += data[start:end]
            if len(part.text) > _TEXT_BYTES:
                raise BadRequest(f"{printable(part.name)}: longer than {_TEXT_BYTES} bytes", part.name)

    def _part_ends(self) -> None:
        if self._part.is_text:
            self.texts.append((self._part.name, _decoded(bytes(self._part.text))))

    def _ends(self) -> None:
        self.is_complete = True


class _Part:
    """The part that is coming."""

    def __init__(self) -> None:
        self.header_name = bytearray()
        self.header_value = bytearray()
        self.header_bytes = 0
        self.options: Dict[bytes, bytes] = {}  # of its Content-Disposition
        self.name = ""
        self.is_text = False
        self.is_file = False
        self.text = bytearray()


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise BadRequest(f"the form cannot be read: {error}") from error


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
