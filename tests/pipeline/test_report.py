"""The report's page: what it shows of a finished run, of a failed one, of none."""

import base64
import io
import re

import numpy as np
import pytest
from finished_run import CONFIG, Page, artifact, summary_of, write_split, written_report
from PIL import Image
from rich.console import Console
from tfx.types import standard_artifacts

from pipeline.execution.local_runner import ComponentRun
from pipeline.report.facts import Facts
from pipeline.report.summary import RunSummary, print_summary, summarise
from trainer.data import features
from trainer.data.categories import from_lists, palette

pytestmark = pytest.mark.slow  # whole pages


def test_the_page_needs_nothing_else_and_is_small(page):
    assert len(page.source) < 4_000_000
    assert [values for tag, values in page.tags if tag == "script"] == [{}]  # one, in the page
    links = [values[name] for _, values in page.tags for name in ("src", "href") if name in values]
    assert links and all(link.startswith(("data:", "#")) for link in links)
    targets = {values["id"] for _, values in page.tags if "id" in values}
    assert {link[1:] for link in links if link.startswith("#")} <= targets
    assert "url(" not in page.source and "@import" not in page.source


def test_every_picture_loads_and_says_what_it_shows(page):
    doubtful = page.source.count("<span>least certain ·")  # those that are not shown as worst, middle or best
    assert len(page.images) == 4 + 8 * 4 + (8 + doubtful) * 3  # curves, weak labels (one tag each), predictions
    assert len({image["alt"] for image in page.images}) == len(page.images)
    for image in page.images:
        picture = Image.open(io.BytesIO(base64.b64decode(image["src"].partition("base64,")[2])))
        picture.load()


def test_headings_go_down_one_level_at_a_time(page):
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(page.headings, page.headings[1:], strict=False))


def test_masks_have_the_palettes_colours_and_maps_the_images_shape(page):
    label = page.image("Weak label of weak_0")
    assert label.size == (40, 24)
    pixels = np.asarray(label.convert("RGB"))
    np.testing.assert_array_equal(pixels[10, 10], palette()[1])
    np.testing.assert_array_equal(pixels[16, 10], palette()[255])
    assert page.image("L-Net's map M of weak_0").size == (40, 24)
    assert page.image("Activation map of cat in weak_0").size == (40, 24)


def test_weak_labels_run_from_least_to_most_certain(page):
    confidences = [float(value) for value in re.findall(r"tags: [^<]*confidence ([\d.]+) %", page.source)]
    assert confidences == sorted(confidences)
    assert (confidences[0], confidences[-1]) == (10, 100)


def test_predictions_are_the_worst_the_middle_and_the_best(page):
    found = re.findall(r"<span>(\S+).*? · IoU of its objects ([\d.]+) % · confidence ([\d.]+) %", page.source)
    values = [float(value) for place, value, _ in found if place != "least"]
    assert len(values) == 8 and values == sorted(values)
    doubtful = [float(confidence) for place, _, confidence in found if place == "least"]
    assert doubtful == sorted(doubtful)
    assert [page.source.count(f"<span>{place} ·") for place in ("worst", "middle", "best")] == [3, 2, 3]


def test_figures_of_the_run_are_there(page, finished):
    summary = summary_of(finished)
    assert "Pushed" in page.text and "/models/pets/7" in page.text
    for value in (summary.miou, summary.weak_miou, 0.1234):
        assert f"{100 * value:.1f}" in page.text
    assert "odd" in page.text and "has ids [<99>]" in page.text  # escaped in the source, whole for the reader
    assert "10 of 11" in page.text and "truncated" in page.text
    assert "12 s" in page.text and "1 min 39 s" in page.text and "cached" in page.text
    assert "image_size: 57" in page.text


def test_what_a_trainer_warned_of_is_there(finished, tmp_path):
    summary = summarise(Facts(CONFIG, tmp_path, finished), 1.0, "abc123")
    assert [line for line in summary.warnings if "left out" not in line] == ["p_net: P-Net's accuracy stayed at 1.0"]
    assert "Warning: p_net: P-Net's accuracy" in Page(written_report(tmp_path, finished, summary)).text


@pytest.mark.parametrize("cached", [False, True])
def test_pictures_that_are_left_out_are_told_of(finished, tmp_path, cached):
    runs = [ComponentRun(run.name, 0.01, cached, run.outputs) for run in finished]
    warnings = summarise(Facts(CONFIG, tmp_path, runs), 1.0, "abc123").warnings
    examples, labels = (run.output_uri("examples") for run in runs if run.name in ("examples", "weak_labels"))
    assert f"examples: 1 pictures left out, for one odd: has ids [<99>]; all in {examples}/rejected.jsonl" in warnings
    assert any(line.startswith("weak_labels: 1 pictures") and labels in line for line in warnings)


def test_the_confusion_matrix_shows_shares_of_true_pixels(page):
    body = page.source.partition('class="confusion"')[2].partition("</table>")[0]
    rows = [re.findall(r"<td[^>]*>(\d+)</td>", row) for row in body.split("<tr>")[2:]]
    assert [len(row) for row in rows] == [4] * 4
    assert all(abs(sum(map(int, row)) - 100) <= 2 for row in rows)


def test_same_results_leave_the_page_as_it_is(finished, tmp_path):
    summary = summary_of(finished)
    path = written_report(tmp_path, finished, summary)
    path.write_text(path.read_text() + "<!-- first -->")
    cached = [ComponentRun(run.name, 0.01, True, run.outputs) for run in finished]
    summary.wall_s, summary.components = 1.0, {"cam": {"wall_s": 0.01, "cached": True}}
    assert "<!-- first -->" in written_report(tmp_path, cached, summary).read_text()
    summary.refused_because = ["mIoU is 10.00 %, 20.00 points below the threshold 30.00 %"]
    again = written_report(tmp_path, cached, summary).read_text()
    assert "<!-- first -->" not in again and "20.00 points below the threshold" in again


@pytest.mark.parametrize("done", range(7))
def test_a_failed_run_shows_what_there_is(finished, tmp_path, done):
    failed = ComponentRun("broken", 1.0, error=RuntimeError("no <space> left"))
    summary = RunSummary(refused_because=["broken: no <space> left"])
    page = Page(written_report(tmp_path, [*finished[:done], failed], summary))
    assert "Stopped in broken" in page.text and "broken: no <space> left" in page.text
    assert ("Dataset" in page.text) == (done >= 1)
    assert ("Weak labels" in page.text) == (done >= 5)
    assert ("from earlier runs" in page.text) == (done >= 5)
    assert ("Predictions" in page.text) == (done >= 6)
    assert "Confusion" not in page.text


def test_no_label_at_all_and_no_component(finished, tmp_path):
    empty = tmp_path / "labels"
    write_split(empty / "Split-weak", [], features.GENERATED)
    (empty / "dead_letters.jsonl").write_text("")
    (empty / "summary.json").write_text('{"labelled": 0, "kept": 0, "dead": 0}')
    labels = ComponentRun("weak_labels", outputs={"examples": artifact(standard_artifacts.Examples, empty)})
    assert "0 of 0" in Page(written_report(tmp_path, [*finished[:3], labels], RunSummary())).text
    assert "Not finished" in Page(written_report(tmp_path, [], RunSummary())).text


def test_names_of_categories_are_no_markup_on_screen():
    per_class = {"background": 0.9, "door [/window]": 0.5, "sign [stop]": 0.4}
    screen = io.StringIO()
    categories = from_lists(["door [/window]"], ["sign [stop]"])
    print_summary(RunSummary(per_class=per_class, miou=0.6), categories, Console(file=screen, width=100))
    assert "door [/window]" in screen.getvalue() and "sign [stop]" in screen.getvalue()
