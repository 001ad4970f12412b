"""The DAG as TFX sees it: who feeds whom, and which gates stand before training."""

import json

import pytest

from pipeline.config.run_config import make_config
from pipeline.demo.demo_data import draw_demo_dataset
from pipeline.graph import Folders, create_pipeline
from serving.saved_model import METADATA
from trainer.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return draw_demo_dataset(tmp_path_factory.mktemp("data") / "demo", train=8, val=2, progress=False)


@pytest.fixture(scope="module")
def nodes(root):
    return nodes_of(root)


def nodes_of(root, **options):
    config = make_config(
        {
            "name": "graph",
            "dataset": {"root": str(root)},
            "categories": {"strong": ["ring", "star", "leaf", "crate"], "weak": ["gear", "flower", "fish", "house"]},
            "network": {"backbone": "tiny", "weights": None},
            "compare_strong_only": True,
            **options,
        },
        "test",
    )
    folders = Folders("artifacts", "checkpoints", "serving", "labels")
    return {component.id: component for component in create_pipeline(config, folders, None).components}


def upstream(node) -> set[str]:
    return {parent.id for parent in node.upstream_nodes}


def test_training_waits_for_the_gates(nodes):
    for name in ("cam", "l_net", "strong_only"):
        assert {"examples", "data_gate"} <= upstream(nodes[name])
    assert {"weak_labels", "label_gate"} <= upstream(nodes["segmentation"])
    assert {"weak_labels", "segmentation"} <= upstream(nodes["p_net"])


def test_without_weak_categories_the_masks_teach_all(root):
    names = ["ring", "star", "leaf", "crate", "gear", "flower", "fish", "house"]
    nodes = nodes_of(root, categories={"strong": names}, compare_strong_only=False)
    assert not {"cam", "l_net", "weak_labels", "label_gate"} & nodes.keys()
    for name in ("segmentation", "p_net"):
        assert "examples" in upstream(nodes[name]) and '"weak"' not in nodes[name].exec_properties["train_args"]
    assert "data_gate" in upstream(nodes["segmentation"])
    for asked in ({"calibrate": True}, {"compare_strong_only": True}, {"cam_from": "x"}, {"l_net_from": "x"}):
        with pytest.raises(UserError, match=f"{next(iter(asked))}: no category is weak"):
            nodes_of(root, **({"categories": {"strong": names}, "compare_strong_only": False} | asked))


def test_labels_by_networks_of_another_run_wait_for_the_data_gate_too(root):
    nodes = nodes_of(root, cam_from="gs://other/cam", l_net_from="gs://other/l_net")
    assert "data_gate" in upstream(nodes["weak_labels"]) and "data_gate" in upstream(nodes["strong_only"])


def test_only_a_blessed_refined_model_is_pushed(nodes):
    assert upstream(nodes["serving_check"]) == {"examples", "p_net"}
    assert upstream(nodes["evaluator"]) == {"examples", "p_net", "latest_blessed", "serving_check"}
    assert upstream(nodes["pusher"]) == {"p_net", "evaluator", "serving_check"}


def test_a_machine_with_docker_can_ask_tf_serving_itself(root):
    nodes = nodes_of(root, serving_check={"docker_tag": "2.13.0"})
    assert upstream(nodes["serving_check"]) == {"examples", "p_net", "docker_check"}
    assert '"2.13.0"' in nodes["docker_check"].exec_properties["serving_spec"]


def test_networks_that_need_masks_never_see_the_unlabelled_weak_split(nodes):
    for name in ("l_net", "strong_only"):
        assert '"weak"' not in nodes[name].exec_properties["train_args"]
    assert "examples" not in upstream(nodes["segmentation"])


def test_only_the_map_makers_depend_on_how_maps_are_looked_at(root):
    nodes = nodes_of(root, maps={"extra_scales": [1.5], "mirror": True})
    for name in ("cam", "l_net"):
        assert '"scales": [1.0, 1.5]' in nodes[name].exec_properties["custom_config"]
    assert '"scales": [1.0]' in nodes["segmentation"].exec_properties["custom_config"]


def test_only_the_segmentation_networks_depend_on_how_pictures_are_tested(root):
    plain, nodes = nodes_of(root), nodes_of(root, inference={"scales": [0.5, 1.0], "max_pixels": 9})
    for name in ("segmentation", "p_net"):
        look = json.loads(nodes[name].exec_properties["custom_config"])
        assert look["look"]["scales"] == [0.5, 1.0] and look["max_pixels"] == 9
    for name in ("cam", "l_net"):
        assert nodes[name].exec_properties == plain[name].exec_properties


def test_the_label_step_sees_both_networks(nodes):
    assert {"examples", "cam", "l_net"} == upstream(nodes["weak_labels"])


def test_calibration_uses_an_l_net_of_its_own_and_feeds_the_label_step(root):
    nodes = nodes_of(root, calibrate=True)
    assert upstream(nodes["calibration"]) == {"examples", "cam", "l_net_rehearsal"}
    assert upstream(nodes["l_net_rehearsal"]) == {"examples", "data_gate"}
    assert '"strong": ["ring", "leaf"]' in nodes["l_net_rehearsal"].exec_properties["custom_config"]
    assert upstream(nodes["weak_labels"]) == {"examples", "cam", "l_net", "calibration"}


def test_an_accepted_model_is_compared_with_none(root, nodes):
    accepted = nodes_of(root, gate={"accept": "for the fair"})
    before, now = (made["evaluator"].exec_properties["eval_config"] for made in (nodes, accepted))
    assert "change_threshold" in before and "change_threshold" not in now
    assert "value_threshold" in now  # without any, nothing would be blessed


def exported_like(folder, kind, names):
    """What `imported` looks at of an exported network: its kind and categories."""
    exported = folder / "Format-Serving"
    for inside in ("variables", "assets.extra"):
        (exported / inside).mkdir(parents=True)
    (exported / "saved_model.pb").write_text("")
    (exported / "assets.extra" / "categories.json").write_text(json.dumps({"foreground": names, "strong": names[:1]}))
    (exported / METADATA).write_text(json.dumps({"kind": kind}))
    return exported


def test_networks_of_other_runs_must_fit_before_anything_starts(root, tmp_path):
    exported_like(tmp_path / "l_net", "l_net", ["cat"])
    exported_like(tmp_path / "cam", "cam", ["cat", "dog"])
    with pytest.raises(UserError, match="this is an L-Net; give the folder of a CAM classifier"):
        nodes_of(root, cam_from=str(tmp_path / "l_net"))
    with pytest.raises(UserError, match="l_net_from: no exported model in .*l_net/nothing"):
        nodes_of(root, l_net_from=str(tmp_path / "l_net" / "nothing"))
    with pytest.raises(UserError, match="cam_from: .*cam knows cat, dog; this run has .*: names and order must be"):
        nodes_of(root, cam_from=str(tmp_path / "cam"))


def test_other_contents_of_the_same_file_are_other_inputs(root, tmp_path):
    weights = tmp_path / "weights.h5"
    network = {"backbone": "mobilenet_v2", "weights": str(weights)}
    exported = exported_like(tmp_path / "l_net", "l_net", ["cat"])
    seen = []
    for content in ("one", "two"):
        weights.write_text(content)
        (exported / "saved_model.pb").write_text(content)
        made = nodes_of(root, network=network, l_net_from=str(tmp_path / "l_net"))
        imported = made["l_net"].outputs["model"].additional_custom_properties  # of the artifact that TFX looks for
        seen.append((made["cam"].exec_properties["custom_config"], dict(imported)))
    assert seen[0][0] != seen[1][0] and seen[0][1] != seen[1][1]
