"""What the service says no to: a sentence for whoever asked, and HTTP's word for the kind of no."""


class Refused(Exception):  # noqa: N818 (a request that is answered, not a fault of ours)
    """A request that cannot be granted; `problems` holds one sentence or more, `status` is HTTP's."""

    def __init__(self, sentence: str, status: int = 400, problems: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status
        self.problems = problems


class TooSlow(Refused):
    """A request whose body comes too slowly, or not at all."""

    def __init__(self) -> None:
        super().__init__("The request came too slowly; send it again.", 408)


class SetupError(Exception):
    """The service cannot start, or a command of its organiser cannot be done; the message says why."""
