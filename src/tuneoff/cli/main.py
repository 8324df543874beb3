"""The command line `tuneoff`. Each command imports its dependencies when it is called, so that help is printed at once."""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

import click

from .._version import __version__
from . import advise, catalog, cluster, inspect, katib, run, table
from .options import BAD_INPUT, CELL_FAILED, STOPPED


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tuneoff")
def cli() -> None:
    """Compare hyperparameter tuners fairly.

    Every method gets the same budget and the same seeds, and every trial is recorded.

    Start with `tuneoff run studies/quickstart.yaml`. In the help of the commands, STUDY is a study file, and DIR is a study's
    output folder.

    Exit codes: 0 success, 1 a cell (a method on a data set) failed, 2 bad input, 3 stopped on request, 130 Ctrl-C ended the
    watching of a run on a cluster, but not the run.
    """


for _command in (
    *run.COMMANDS,
    *cluster.COMMANDS,
    *katib.COMMANDS,
    *inspect.COMMANDS,
    *advise.COMMANDS,
    *table.COMMANDS,
    *catalog.COMMANDS,
):
    cli.add_command(_command)


def main() -> NoReturn:
    """Run the command. A user's mistake prints one sentence and exits with code 2, never with a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow logs the processor's features on every import
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal cannot show every file name
    from ..core.errors import CellFailed, RecordError, ReplayError, StudyError
    from ..core.store.stop_request import Stopped

    try:
        cli.main(prog_name="tuneoff", standalone_mode=False)
        sys.exit(0)
    except click.ClickException as error:
        error.show()
        sys.exit(BAD_INPUT)
    except click.exceptions.Abort:
        _fail("Interrupted. The finished epochs are on record. Run the same command again to continue.", CELL_FAILED)
    except Stopped as error:
        _fail(f"{error}. Run the same command again to continue.", STOPPED)
    except StudyError as error:
        _fail(str(error), BAD_INPUT)
    except (CellFailed, RecordError, ReplayError) as error:
        _fail(str(error), CELL_FAILED)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}." if error.filename and error.strerror else f"{error}.", BAD_INPUT)
    except ImportError as error:
        from ..core.runtime.extras import remedy

        _fail(f"{error}. Install the missing package: {remedy(error.name)}.", BAD_INPUT)


def _fail(message: str, code: int) -> NoReturn:
    from ..core.errors import plain

    for line in plain(message).splitlines():
        click.echo(f"tuneoff: {line}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
