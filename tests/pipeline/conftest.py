"""What the tests of the report share."""

import pytest
from finished_run import Page, finished_run, summary_of, written_report

from pipeline.execution.local_runner import ComponentRun


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> list[ComponentRun]:
    return finished_run(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="session")
def page(finished, tmp_path_factory) -> Page:
    summary = summary_of(finished, pushed_model="/models/pets/7", strong_only_miou=0.1234)
    return Page(written_report(tmp_path_factory.mktemp("run"), finished, summary))
