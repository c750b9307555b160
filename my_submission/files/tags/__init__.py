"""What a file says of its music, and its pictures: read from any format, written in any that has them."""

from my_submission.files.tags.reading import read_tags
from my_submission.files.tags.record import Picture, Tags
from my_submission.files.tags.writing import Unwritable, write_tags

__all__ = ["Picture", "Tags", "Unwritable", "read_tags", "write_tags"]
