"""One exception type per audience, and what foreign texts become before they are told."""


class StudyError(Exception):
    """The user's input is at fault; the message is one sentence (or one per line) that says what would be accepted."""


class StoreAway(StudyError):
    """The store does not answer, or fails every call; the same call may succeed later."""


class DataError(StudyError):
    """A data set cannot be had, or is not what it should be."""


class DataUnavailable(DataError):
    """No source delivers the data set now; the network may be back later."""


class CellFailed(Exception):
    """A method on a data set cannot go on; the message is one sentence that says why."""


class Settled(CellFailed):
    """A method on a data set cannot go on, and another attempt would end in the same way."""


class RunGone(CellFailed):
    """A run on a cluster is not there any more, or cannot go on; the message says which, and what to do."""


class RecordError(Exception):
    """The record of a search is damaged, or is held by somebody else."""


class Overtaken(RecordError):
    """Another process has gone on with the record: whoever wrote before is fenced off."""


class ReplayError(Exception):
    """A method, built anew, did not repeat what its record says; names the trial and the field."""


def plain(text: str) -> str:
    """A foreign text, such as an exception's, with all but printable characters, line ends and tabs written as Python escapes."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
