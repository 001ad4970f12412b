"""What a clean-up takes and what it leaves, on a real metadata store."""

import json
import shutil
import sqlite3

import pytest
from click.testing import CliRunner
from ml_metadata.proto import metadata_store_pb2
from small_pipeline import PAYLOAD, run_small
from tfx.orchestration.metadata import Metadata

from components.beam_masks.lock import locked
from components.weak_labels.examples import LABELS
from components.weak_labels.label_store import LabelStore, labels_in
from pipeline.cli import cli
from pipeline.config.run_config import MetadataConfig, load_config, make_config
from pipeline.execution.metadata_store import connect
from pipeline.run.readiness import make_ready
from pipeline.run.retention import clean
from serving.export import export_segmentation
from trainer.data.categories import from_lists
from trainer.data.files import to_lines
from trainer.errors import UserError
from trainer.models.large_fov import build_segmentation

UNCOMPARED = ["gate.accept=models without a network are compared with none"]


@pytest.fixture
def workdir(tmp_path):
    return tmp_path.resolve()


def numbers(workdir, pattern):
    return sorted(int(path.name) for path in workdir.glob(pattern))


def models(workdir):
    return numbers(workdir, "artifacts/p_net/model/*")


def test_the_newest_executions_stay_and_stay_cached(workdir):
    for steps in (1, 2, 3):
        run_small(workdir, steps=steps)
    before = models(workdir)
    versions = numbers(workdir, "serving/small/*")
    removed = clean(workdir, keep=2, keep_versions=1)
    assert models(workdir) == before[1:] == numbers(workdir, "artifacts/p_net/model_run/*")
    assert numbers(workdir, "serving/small/*") == versions[2:]
    assert sum(entry.bytes for entry in removed if entry.name == "serving/small") == 2 * len(PAYLOAD)
    with sqlite3.connect(workdir / "metadata.sqlite") as store:
        known = dict(store.execute("SELECT uri, state FROM Artifact").fetchall())
    gone = {entry.path for entry in removed if entry.kind == "artifact"}
    assert gone and gone == {uri for uri, state in known.items() if state == metadata_store_pb2.Artifact.DELETED}
    assert set(run_small(workdir, steps=3).values()) == {"cached"}
    again = run_small(workdir, steps=2)  # its model is there, its version is not: it is pushed again
    assert (again["p_net"], again["evaluator"], again["pusher"]) == ("cached", "cached", "done")
    assert len(numbers(workdir, "serving/small/*")) == 2
    again = run_small(workdir, steps=1)
    assert (again["examples"], again["p_net"]) == ("cached", "done")


def test_what_the_served_model_was_made_from_stays_however_old(workdir):
    run_small(workdir, data=1, good=1)
    lineage = {path for path in workdir.glob("artifacts/*/[!.]*/*")}
    assert len(lineage) == 5
    for data in (2, 3, 4):
        run_small(workdir, data=data, good=0)
    clean(workdir, keep=1, keep_versions=1)
    assert lineage <= set(workdir.glob("artifacts/*/[!.]*/*"))
    assert len(models(workdir)) == len(numbers(workdir, "artifacts/examples/examples/*")) == 2
    assert len(numbers(workdir, "serving/small/*")) == 1
    states = run_small(workdir, data=1, good=1)
    assert set(states.values()) == {"cached"}


def test_a_chain_of_warm_starts_ends(workdir):
    for data in range(4):
        run_small(workdir, data=data, warm=data > 0)
    before = models(workdir)
    clean(workdir, keep=1, keep_versions=1)
    assert models(workdir) == before[-1:]
    assert set(run_small(workdir, data=9, warm=True).values()) == {"done"}


def test_the_latest_blessed_model_stays_even_if_its_version_is_gone(workdir):
    run_small(workdir, data=1)
    run_small(workdir, data=2, good=0)
    run_small(workdir, data=3, good=0)
    for version in (workdir / "serving/small").iterdir():
        (version / "saved_model.pb").unlink()
        version.rmdir()
    first = models(workdir)[0]
    clean(workdir, keep=1, keep_versions=1)
    assert first in models(workdir)


def test_leftovers_of_a_killed_run_go_and_other_files_stay(workdir):
    run_small(workdir)
    whole = models(workdir)
    with pytest.raises(KeyboardInterrupt):
        run_small(workdir, steps=-1)
    with sqlite3.connect(workdir / "metadata.sqlite") as store:
        [killed] = store.execute("SELECT max(id) FROM Execution").fetchone()
    half = workdir / "artifacts/p_net/model" / str(killed)
    half.mkdir(exist_ok=True)  # a kill -9 leaves the folder
    (half / "half").write_text(PAYLOAD)
    (workdir / "checkpoints/CAM-1").mkdir(parents=True)
    (workdir / "checkpoints/CAM-1/data").write_text(PAYLOAD)
    (workdir / "notes").write_text("mine")
    kinds = {entry.kind: entry.bytes for entry in clean(workdir, keep=1, keep_versions=1) if entry.bytes}
    assert kinds == {"unfinished": len(PAYLOAD), "checkpoints": len(PAYLOAD)}
    assert models(workdir) == whole and not (workdir / "checkpoints").exists() and (workdir / "notes").exists()
    assert set(run_small(workdir).values()) == {"cached"}


def test_labels_that_no_kept_artifact_holds_go_from_the_store(workdir):
    run_small(workdir)
    store = LabelStore(str(workdir / "label_store"), "recipe")
    for stamps in (["aa1", "aa2"], ["bb3"]):
        store.put([{"stamp": stamp} for stamp in stamps])
    damaged = workdir / "label_store" / "recipe" / "damaged.gz"
    damaged.write_text("half a file")
    [kept] = workdir.glob("artifacts/examples/examples/*")
    (kept / LABELS).mkdir()
    (kept / LABELS / "shard.jsonl").write_bytes(to_lines([{"key": "picture", "stamp": "aa2"}]))
    removed = clean(workdir, keep=1, keep_versions=1)
    assert {(entry.kind, entry.name) for entry in removed} == {("label", "label_store")} and len(removed) == 2
    assert [labels_in(path) for path in store.files()] == [[{"stamp": "aa1"}, {"stamp": "aa2"}]]
    assert not damaged.exists()


def test_a_half_pushed_version_is_no_version(workdir):
    run_small(workdir)
    [version] = workdir.glob("serving/small/*")
    half = version.with_name(str(int(version.name) + 1))
    half.mkdir()
    (half / "variables").write_text(PAYLOAD)
    [entry] = clean(workdir, keep=1, keep_versions=1)
    assert entry.kind == "unfinished" and not half.exists() and (version / "saved_model.pb").exists()


def test_a_moved_work_folder_loses_nothing(workdir):
    (workdir / "one").mkdir()
    run_small(workdir / "one")
    (workdir / "one").rename(workdir / "two")
    assert clean(workdir / "two", keep=1, keep_versions=1) == []
    assert len(models(workdir / "two")) == 1


def test_nothing_but_a_failed_first_component(workdir):
    with pytest.raises(KeyboardInterrupt):
        run_small(workdir, data=-1)
    clean(workdir, keep=1, keep_versions=1)


def test_another_pipeline_in_the_same_folder_is_left_alone(workdir):
    run_small(workdir, name="other")
    run_small(workdir, name="small")
    run_small(workdir, name="small", data=2)
    before = models(workdir)
    clean(workdir, keep=1, keep_versions=1)
    assert before[0] in models(workdir) and len(numbers(workdir, "serving/other/*")) == 1


def test_the_command_tells_before_it_does(workdir):
    for data in (1, 2, 3):
        run_small(workdir, data=data)
    before = sorted(workdir.rglob("*"))
    arguments = ["clean", "--workdir", str(workdir), "--keep", "1", "--keep-versions", "1"]
    done = CliRunner().invoke(cli, [*arguments, "--dry-run", "--json", "-"], catch_exceptions=False)
    told = json.loads(done.stdout)
    assert told["dry_run"] and "Would be freed" in done.stderr and "artifacts/p_net/model" in done.stderr
    assert [path for path in sorted(workdir.rglob("*")) if path.name != "lock"] == before
    done = CliRunner().invoke(cli, [*arguments, "--json", "-"], catch_exceptions=False)
    assert json.loads(done.stdout) == told | {"dry_run": False}
    assert told["bytes"] == 2 * 5 * len(PAYLOAD) and len(models(workdir)) == 1


def test_not_while_a_run_is_going_on(workdir):
    run_small(workdir)
    with locked(workdir, "run 7"), pytest.raises(UserError, match="run 7 is going on in this folder"):
        clean(workdir, keep=1, keep_versions=1)
    clean(workdir, keep=1, keep_versions=1)


def test_where_no_run_has_been(workdir):
    (workdir / "config.yaml").write_text("name: somebody_elses")
    (workdir / "checkpoints").mkdir()
    with pytest.raises(UserError, match="no run has been here"):
        clean(workdir, keep=1, keep_versions=1)
    assert sorted(path.name for path in workdir.iterdir()) == ["checkpoints", "config.yaml"]


def test_a_version_that_somebody_removed_is_pushed_again(workdir):
    run_small(workdir)
    config = load_config(workdir / "config.yaml", UNCOMPARED)
    make_ready(config, workdir)
    assert set(run_small(workdir).values()) == {"cached"}
    [version] = (workdir / "serving/small").iterdir()
    shutil.rmtree(version)
    make_ready(config, workdir)
    again = run_small(workdir)
    assert (again["evaluator"], again["pusher"]) == ("cached", "done")
    assert len(numbers(workdir, "serving/small/*")) == 1


def test_a_refused_serving_check_is_made_again_and_a_refused_model_not(workdir):
    run_small(workdir, good=0)
    with Metadata(connect(MetadataConfig(), workdir)) as handle:
        [model] = handle.store.get_artifacts_by_type("Model")
        model.custom_properties["blessed"].int_value = 0  # as the check leaves it, which this pipeline has not
        [data] = handle.store.get_artifacts_by_type("Examples")
        data.custom_properties["blessed"].string_value = "{}"  # as TFX's ExampleValidator notes its verdicts
        handle.store.put_artifacts([model, data])
    make_ready(load_config(workdir / "config.yaml", UNCOMPARED), workdir)
    again = run_small(workdir, good=0)
    assert (again["examples"], again["p_net"]) == ("cached", "done")
    make_ready(load_config(workdir / "config.yaml", UNCOMPARED), workdir)
    assert run_small(workdir, good=0)["evaluator"] == "cached"


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A real network, exported."""
    folder = tmp_path_factory.mktemp("network") / "exported"
    net, categories = build_segmentation("tiny", 4, None, 0), from_lists(["cat"], ["dog", "cow"])
    export_segmentation(net, folder, categories=categories, image_size=33, metadata={"backbone": "tiny"})
    return folder


@pytest.fixture
def blessed_model(workdir, network):
    """The network in the place of the blessed model of a small run."""
    run_small(workdir)
    [folder] = workdir.glob("artifacts/p_net/model/*")
    shutil.copytree(network, folder / "Format-Serving")
    return folder


@pytest.mark.parametrize(
    ("weak", "added", "words"),
    [
        (["dog", "cow"], [], None),
        (["dog", "cow", "kite"], ["kite"], None),
        (["dog", "cow"], ["cow"], None),  # a rerun after the push
        (["dog", "cow", "kite"], [], r"name the new ones: categories.added: \[kite\]"),
        (["cow", "dog"], [], "keep names and order"),
        (["dog"], [], "keep names and order"),
        (["dog", "yak"], [], "keep names and order"),
    ],
)
def test_a_run_of_other_categories_than_the_blessed_models_is_refused(weak, added, words, workdir, blessed_model):
    values = {"name": "small", "dataset": {"root": "data"}}
    values["categories"] = {"strong": ["cat"], "weak": weak, "added": added}
    if words is None:
        make_ready(make_config(values, "test"), workdir)
        return
    with pytest.raises(UserError, match=words):
        make_ready(make_config(values, "test"), workdir)
    make_ready(make_config({**values, "gate": {"accept": "for now"}}, "test"), workdir)


def test_a_warm_start_needs_the_blessed_models_backbone(workdir, blessed_model):
    values = {"name": "small", "dataset": {"root": "data"}, "categories": {"strong": ["cat"], "weak": ["dog", "cow"]}}
    make_ready(make_config(values, "test"), workdir)
    with pytest.raises(UserError, match="warm_start: the latest blessed model has the backbone tiny, this run vgg16"):
        make_ready(make_config({**values, "warm_start": True}, "test"), workdir)
    make_ready(make_config({**values, "warm_start": True, "network": {"backbone": "tiny"}}, "test"), workdir)


@pytest.mark.parametrize("folder", ["artifacts", "serving", "serving/small", "label_store"])
def test_a_folder_that_cannot_be_written_to_is_named_before_anything_starts(folder, workdir):
    (workdir / folder).parent.mkdir(exist_ok=True)
    (workdir / folder).write_text("")
    values = {"name": "small", "dataset": {"root": "data"}, "categories": {"strong": ["cat"], "weak": ["dog"]}}
    with pytest.raises(UserError, match=f"{folder}: is no folder; mend that, or give another --workdir"):
        make_ready(make_config(values, "test"), workdir)


def test_a_blessed_model_that_is_gone_is_named_before_anything_starts(workdir, blessed_model):
    values = {"name": "small", "dataset": {"root": "data"}, "categories": {"strong": ["cat"], "weak": ["dog", "cow"]}}
    shutil.rmtree(blessed_model)
    with pytest.raises(UserError, match="is gone. Was the work folder moved or cleared by hand"):
        make_ready(make_config(values, "test"), workdir)
    make_ready(make_config({**values, "gate": {"accept": "moved"}}, "test"), workdir)
    assert run_small(workdir)["p_net"] == "done"  # not from the cache any more
