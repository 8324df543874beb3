"""Exception types, one per kind of reader, and cleaning of text from other programs before it is shown."""


class StudyError(Exception):
    """The user's input is invalid. Each line of the message names the fault, the allowed values and the next step."""


class StoreAway(StudyError):
    """The store does not answer or fails every call. The same call may succeed later."""


class DataError(StudyError):
    """A data set is not available or not valid."""


class DataUnavailable(DataError):
    """No source delivers the data set at the moment. It may be available later."""


class CellFailed(Exception):
    """A cell (one method on one data set) cannot continue. The message gives the reason."""


class Settled(CellFailed):
    """A cell cannot continue, and another attempt would fail in the same way."""


class RunGone(CellFailed):
    """A run on a cluster no longer exists or cannot continue. The message names the case and the next step."""


class RecordError(Exception):
    """The record of a search is damaged, or another process holds it."""


class Overtaken(RecordError):
    """Another process has continued the record. The earlier writer may not write any more."""


class ReplayError(Exception):
    """A method did not repeat its recorded proposals when the search was resumed. The message names the trial and the field."""


def plain(text: str) -> str:
    """Return text from another program with non-printable characters, except line ends and tabs, as Python escapes."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, for use in another message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
