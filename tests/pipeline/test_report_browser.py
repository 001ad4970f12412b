"""The report in a real browser: nothing on the console, every picture loads, the sliders work from the keyboard."""

import json
import re
import shutil
import subprocess

import pytest
from commands import TIMEOUT_S

from pipeline.execution.local_runner import ComponentRun
from pipeline.report.dag import lay_out
from pipeline.report.facts import lineage

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PROBE = """
<script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("load", () => {
  const range = document.querySelector(".compare input"), output = document.querySelector(".compare output");
  range.focus();
  const before = output.textContent, focused = document.activeElement === range;
  range.stepUp(20);
  range.dispatchEvent(new Event("input", { bubbles: true }));
  const top = document.querySelectorAll(".compare .stack img")[2];
  const found = {
    errors, focused, before, after: output.textContent, opacity: getComputedStyle(top).opacity,
    broken: [...document.images].filter((image) => !image.complete || !image.naturalWidth).length,
    images: document.images.length, sliders: document.querySelectorAll(".compare").length,
    rows: document.querySelectorAll(".row").length, wide: document.documentElement.scrollWidth - innerWidth,
    unlabelled: [...document.querySelectorAll("input, .scroll")].filter((e) => !e.getAttribute("aria-label")).length,
    boxes: document.querySelectorAll(".graph rect").length,
  };
  const note = document.createElement("pre");
  note.id = "probe";
  note.textContent = JSON.stringify(found);
  document.body.append(note);
});
</script>
"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
def test_in_a_browser(width, page, tmp_path):
    if CHROMIUM is None:
        pytest.skip("no chromium here (Debian: apt-get install chromium)")
    path = tmp_path / "report.html"
    path.write_text(page.source.replace("</head>", PROBE + "</head>"))
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--window-size={width},900",
        "--virtual-time-budget=9000",
    ]
    options += ["--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path}/profile", "--dump-dom"]
    done = subprocess.run([CHROMIUM, *options, path.as_uri()], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert "CONSOLE" not in done.stderr, done.stderr
    found = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', done.stdout)[1])
    assert found["errors"] == [] and found["broken"] == 0 and found["unlabelled"] == 0
    assert found["images"] > 50 and found["sliders"] == found["rows"] > 10
    assert found["focused"] and (found["before"], found["after"]) == ("prediction over image", "truth")
    assert found["opacity"] == "1" and found["wide"] <= 0 and found["boxes"] == 7


def chain(*pairs):
    return [ComponentRun(name, 1.0, upstream=upstream) for name, upstream in pairs]


def test_the_graph_has_a_box_for_each_component_and_no_edge_that_others_imply():
    graph = lay_out(chain(("a", []), ("b", ["a"]), ("c", ["a", "b"]), ("d", ["a"])))
    assert [node.name for node in graph.nodes] == ["a", "b", "c", "d"]
    assert len(graph.edges) == 3  # a-b, b-c, a-d
    columns = [node.x for node in graph.nodes]
    assert columns[0] < columns[1] < columns[2] and columns[3] == columns[1]
    assert len({(node.x, node.y) for node in graph.nodes}) == 4
    assert max(columns) + 106 < graph.width
    assert lay_out(chain(("a", []), ("b", []))) is None


@pytest.mark.slow
def test_lineage_goes_from_the_last_model_to_the_images(finished):
    steps = lineage(finished)
    assert [step.component for step in steps] == [
        "evaluator",
        "p_net",
        "weak_labels",
        "calibration",
        "l_net",
        "cam",
        "examples",
    ]
    assert steps[0].state == "cached" and steps[1].uri.endswith("p_net")
