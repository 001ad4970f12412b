"""Whether Beam takes the options that a person gives it, before a job is built with them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from trainer.errors import UserError, one_line


def check_beam_options(options: Sequence[str], where: str) -> None:
    """Looks at their values, and whether there is such a runner here; options that Beam does not know pass.

    Raises:
      UserError: names `where`, the option and what is wrong.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            given = PipelineOptions(list(options))
            given.get_all_options()
        if runner := given.view_as(StandardOptions).runner:
            create_runner(runner)
    except SystemExit:  # argparse's, which tells how Beam's own programs are used
        raise UserError(f"{where}: {said.getvalue().strip().rpartition('error: ')[2]}") from None
    except Exception as error:  # a runner may be missing, or what it needs
        raise UserError(f"{where}: {one_line(error)}") from None
