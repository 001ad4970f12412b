"""Whether Beam takes the options that a person gives it, before a job is built with them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from difflib import get_close_matches

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from trainer.errors import UserError, one_line

_ALIKE = 0.9  # our choice: of difflib's ratio


def check_beam_options(options: Sequence[str], where: str) -> None:
    """Looks at their values, and whether there is such a runner here; options that Beam does not know are a runner's
    own and pass, unless they are all but called as Beam's are.

    Raises:
      UserError: names `where`, the option and what is wrong.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            given = PipelineOptions(list(options))
            known, all_given = given.get_all_options(), given.get_all_options(retain_unknown_options=True)
        if runner := given.view_as(StandardOptions).runner:
            create_runner(runner)
    except SystemExit:  # argparse's, which tells how Beam's own programs are used
        raise UserError(f"{where}: {said.getvalue().strip().rpartition('error: ')[2]}") from None
    except Exception as error:  # a runner may be missing, or what it needs
        raise UserError(f"{where}: {one_line(error)}") from None
    for name in all_given.keys() - known.keys():
        if meant := get_close_matches(name, known, 1, _ALIKE):
            raise UserError(f"{where}: Beam has no option --{name}; is --{meant[0]} meant?")
