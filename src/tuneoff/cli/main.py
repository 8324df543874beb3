"""The command `tuneoff`. Every command imports what it needs when it is called, so that help comes at once."""

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
    """Compare hyperparameter-optimisation methods: equal budgets, several seeds, every trial on record.

    Begin with `tuneoff run studies/quickstart.yaml`.

    Exit codes: 0 all went well, 1 a cell failed, 2 bad input, 3 stopped on request, 130 no longer watching a run on a cluster.
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
    """Run the command; a user's mistake is one sentence and exit code 2, never a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow talks about the processor wherever it is imported
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what a terminal cannot show, such as a file name that is no text
    from ..core.errors import CellFailed, RecordError, ReplayError, StudyError
    from ..core.store.stop_request import Stopped

    try:
        cli.main(prog_name="tuneoff", standalone_mode=False)
        sys.exit(0)
    except click.ClickException as error:
        error.show()
        sys.exit(BAD_INPUT)
    except click.exceptions.Abort:
        _fail("Interrupted. What was trained is on record: run the same command again to go on.", CELL_FAILED)
    except Stopped as error:
        _fail(f"{error}: the same command goes on.", STOPPED)
    except StudyError as error:
        _fail(str(error), BAD_INPUT)
    except (CellFailed, RecordError, ReplayError) as error:
        _fail(str(error), CELL_FAILED)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}." if error.filename and error.strerror else f"{error}.", BAD_INPUT)
    except ImportError as error:
        from ..core.runtime.extras import remedy

        _fail(f"{error}. Install what this command needs: {remedy(error.name)}.", BAD_INPUT)


def _fail(message: str, code: int) -> NoReturn:
    from ..core.errors import plain

    for line in plain(message).splitlines():
        click.echo(f"tuneoff: {line}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
