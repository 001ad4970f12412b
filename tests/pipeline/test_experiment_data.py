"""What `experiment` reads: the same images as a run, whatever `dataset` says in the config; no network is trained."""

import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_config import tiny_values

from components.image_example_gen import voc
from components.image_example_gen.write_examples import plan_shards, read_rejected, read_shard
from pipeline.config.run_config import make_config
from pipeline.demo.demo_data import draw_demo_dataset
from pipeline.experiment.evaluation import _examples
from pipeline.experiment.methods import METHODS
from pipeline.experiment.steps import ExperimentSteps, all_strong, held_back
from trainer.baselines.example_files import key_of, read_examples, write_labels
from trainer.data import features
from trainer.data.preprocessing import decode_mask
from trainer.errors import UserError


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_demo_dataset(tmp_path_factory.mktemp("demo") / "set", train=24, val=6, progress=False)


@pytest.fixture
def root(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "set")


def networks_of(root, **dataset):
    values = tiny_values(root)
    values["dataset"] |= dataset
    config = make_config(values, "x")
    networks = ExperimentSteps(config, root.parent / "work")
    networks.folder.mkdir(exist_ok=True)
    return networks, config.categories.resolve()


def shown(root, key):
    return np.array(Image.open(voc.mask_path(root, key)))


def weak_keys(root, categories):
    return [k for k in voc.list_keys(root, "train") if np.isin(shown(root, k), categories.weak_ids).any()]


def write_tags(root, categories, keys):
    rows = (f"{k}.JPG,{'|'.join(categories.names[i] for i in np.unique(shown(root, k)) if 0 < i < 255)}" for k in keys)
    (root / "tags.csv").write_text("image,tags\n" + "".join(f"{row}\n" for row in rows))


@pytest.mark.parametrize(
    "dataset",
    [
        {},
        {"train_limit": 7},
        {"mixed_images": "use_strong_masks"},
        {"corrected": "corrected"},
        {"tags": "tags.csv"},
        {"train": "part-{SPAN}", "newest_spans": 1},
    ],
    ids=lambda dataset: "-".join(dataset) or "plain",
)
def test_the_records_are_those_of_a_run(root, dataset):
    _, categories = networks_of(root)
    keys, weak = voc.list_keys(root, "train"), weak_keys(root, categories)
    write_tags(root, categories, keys)
    lists = {"corrected": weak[:2], "part-1": keys[:9], "part-2": keys[9:]}
    for name, names in lists.items():
        voc.list_path(root, name).write_text("".join(f"{key}\n" for key in names))
    networks, categories = networks_of(root, **dataset)
    settings = networks.config.dataset
    expected = {"strong": [], "weak": [], "eval": []}
    for shard in plan_shards(settings, categories):
        for _, record in read_shard(shard, settings, categories):
            expected[record.split].append(record.example)
    for split in ("strong", "weak"):
        examples = read_examples([networks.split(categories, split)])
        assert [example.SerializeToString(deterministic=True) for example in examples] == expected[split] != []
    assert list(_examples(networks, categories).as_numpy_iterator()) == expected["eval"]


def test_bad_images_are_left_out_by_name_or_refused_by_their_share_as_in_a_run(root):
    first, second, *_ = voc.list_keys(root, "train")
    voc.mask_path(root, first).write_bytes(b"no mask")
    voc.image_path(root, second).unlink()
    evaluated = voc.list_keys(root, "val")[0]
    voc.mask_path(root, evaluated).unlink()
    networks, categories = networks_of(root, max_bad_share=0.03)
    for read in (lambda: networks.records(categories), lambda: networks.records(all_strong(categories))):
        with pytest.raises(UserError, match=f"3 of 30 images are bad, .*{first} .mask.*{second} .image"):
            read()
    networks, _ = networks_of(root, max_bad_share=0.1)
    records = networks.records(categories)
    assert sum(1 for _ in read_examples(list(records.values()))) == 22
    rejected = read_rejected(records["weak"].rpartition("/Split-weak/")[0])
    assert [letter["key"] for letter in rejected] == [first, second, evaluated]
    assert len(list(_examples(networks, categories))) == 5


def test_weak_images_with_tags_alone_teach_the_classifier_and_only_full_needs_their_masks(root):
    _, categories = networks_of(root)
    weak = weak_keys(root, categories)
    write_tags(root, categories, voc.list_keys(root, "train"))
    for key in weak:
        voc.mask_path(root, key).unlink()
    networks, _ = networks_of(root, tags="tags.csv")
    assert {key_of(example) for example in read_examples(networks.everything(categories))} == set(
        voc.list_keys(root, "train")
    )
    with pytest.raises(UserError, match=f"full needs a mask of every training image: {len(weak)} of 30 images are bad"):
        METHODS["full"](networks, categories)
    assert list(held_back(networks.config, categories, evaluation=False, weak=True)) == []
    assert len(list(held_back(networks.config, categories, evaluation=False, weak=False))) == 24 - len(weak)


def test_without_a_tags_file_all_images_with_masks_are_one_file_for_every_split(root):
    networks, categories = networks_of(root)
    assert networks.everything(categories) == [networks.split(all_strong(categories), "strong")]


def test_an_empty_split_is_named(root):
    networks, categories = networks_of(root, train_limit=1)
    empty = "strong" if "weak" in networks.records(categories) else "weak"
    with pytest.raises(UserError, match=f"train: no usable image is in the split '{empty}'"):
        networks.split(categories, empty)


def test_labels_of_rivals_leave_what_people_have_drawn(root, tmp_path):
    """With use_strong_masks the weak images' strong objects keep their pixels under any method's label."""
    networks, categories = networks_of(root, mixed_images="use_strong_masks")
    weak = networks.split(categories, "weak")
    label = categories.weak_ids[0]
    labels = {key: np.full(shown(root, key).shape, label, np.uint8) for key in weak_keys(root, categories)}
    write_labels([weak], labels, tmp_path)
    kept = 0
    for example in read_examples([str(tmp_path / "*.gz")]):
        found = decode_mask(example.features.feature[features.MASK].bytes_list.value[0]).numpy()
        truth = shown(root, key_of(example))
        human = np.isin(truth, categories.strong_ids)
        kept += human.any()
        np.testing.assert_array_equal(found, np.where(human, truth, label))
    assert kept > 0 and len(labels) == sum(1 for _ in read_examples([weak]))
