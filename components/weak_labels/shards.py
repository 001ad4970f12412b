"""Weak examples to labelled ones, shard by shard: a TFRecord file in, the same file with masks out.

No image passes through a shuffle, and none waits for another shard. Order and bytes of what is written depend on the
read file and the recipe alone, not on workers, nor on what was labelled before.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import tensorflow as tf

from components.batch.images import DEAD, Sample, stamp_of
from components.batch.masks import Result, atomic, write_atomic
from components.batch.networks import RunNetworks
from components.weak_labels.examples import json_lines
from components.weak_labels.label_store import Known, Label, LabelStore, index_of, index_rows
from components.weak_labels.outputs import box_counts
from components.weak_labels.transform import mask_shares
from trainer import features
from trainer.baselines.example_files import with_human_mask
from trainer.data.masks import encode_grey
from trainer.features import boxes_of, image_of, key_of, read_examples, tags_of
from trainer.preprocessing import decode_mask

Counts = dict[str, int]
_LOG = logging.getLogger("transferseg")


class LabelShard(beam.DoFn):
    """TFRecord file of weak examples -> how many were labelled, kept, dead; dead letters go to the output `dead`.

    Writes <output>/<name> with the labelled examples and <records>/<name>.jsonl with a record of each: key, tags,
    confidence, seed_share, shares (share of the pixels of every id in the final mask), stamp and, of one with boxes,
    boxes ([tag, share of the box that the label covers]). Both are whole or not there.
    """

    def __init__(self, networks: RunNetworks, output: str, records: str, store: LabelStore | None = None):
        """Args:
        networks: give the labels, see `transform.label_networks`.
        output, records: folders that are there; not the same, since training reads all that is in `output`.
        store: of labels by those networks, looked up by the index that `process` gets, and added to.
        """
        self._networks, self._output, self._records, self._store = networks, output, records, store

    def setup(self) -> None:
        self._networks.setup()

    def process(self, file: str, index: bytes = b"") -> Iterator[Counts | beam.pvalue.TaggedOutput]:
        kept, fresh, dead = self._kept(file, index), {}, 0
        unknown = (sample for sample in self._samples(file) if sample.key not in kept)
        for result in self._networks.process(unknown):
            if isinstance(result, Result):
                fresh[result.key] = Label(encode_grey(result.mask), result.note)
            else:
                dead += 1
                yield result
        self._keep(list(fresh.values()), file)
        records = self._write(file, kept | fresh)
        yield {"labelled": len(records), "kept": len(kept), "dead": dead, **box_counts(records)}

    def _samples(self, file: str) -> Iterator[Sample]:
        recipe = self._store.recipe if self._store else ""
        for example in read_examples(file):
            image, tags, boxes = image_of(example), tags_of(example), boxes_of(example)
            yield Sample(key_of(example), image, tags, stamp_of(recipe, tags, image, boxes), boxes)

    def _kept(self, file: str, index: bytes) -> dict[str, Label]:
        """The labels that the store holds, by key."""
        if self._store is None or not index:
            return {}
        known = Known(self._store, index)
        found = ((sample.key, known.get(sample.stamp)) for sample in self._samples(file))
        return {key: label for key, label in found if label}

    def _keep(self, labels: Sequence[Label], file: str) -> None:
        try:
            if self._store:
                self._store.put(labels)
        except Exception as error:  # the next run makes the labels again
            _LOG.warning("label store: no copy of %d labels of %s (%s)", len(labels), file, error)

    def _write(self, file: str, labels: Mapping[str, Label]) -> list[dict]:
        name, records = file.rpartition("/")[2], []
        with (
            atomic(f"{self._output}/{name}", self._records) as unfinished,
            tf.io.TFRecordWriter(unfinished, features.GZIP) as writer,
        ):
            for example in read_examples(file):
                if label := labels.get(key_of(example)):
                    label = _below_human(label, example)
                    feature = example.features.feature
                    feature[features.MASK].bytes_list.value[:] = [label.mask]
                    feature[features.SOURCE].bytes_list.value[:] = [features.GENERATED]
                    writer.write(example.SerializeToString(deterministic=True))
                    records.append({"key": key_of(example), **label.note})
        write_atomic(f"{self._records}/{name}.jsonl", json_lines(records))
        return records


def _below_human(label: Label, example: tf.train.Example) -> Label:
    """The label in the void pixels of what a person has drawn (strong objects in a weak image)."""
    if features.MASK not in example.features.feature:
        return label
    mask = with_human_mask(decode_mask(tf.constant(label.mask)).numpy(), example)
    return Label(encode_grey(mask), label.note | {"shares": mask_shares(mask)})


class LabelShards(beam.PTransform):
    """Pipeline -> (PCollection of one sum of `LabelShard`'s counts, PCollection of dead letters)."""

    def __init__(
        self, files: Sequence[str], networks: RunNetworks, output: str, records: str, store: LabelStore | None = None
    ):
        """`files` of weak examples are labelled; the others as in `LabelShard`."""
        super().__init__()
        self._files, self._store = files, store
        self._label, self._folders = LabelShard(networks, output, records, store), (output, records)

    def expand(self, pipeline: beam.Pipeline) -> tuple[beam.PCollection[Counts], beam.PCollection[dict[str, str]]]:
        for folder in self._folders:
            tf.io.gfile.makedirs(folder)
        index = (
            pipeline
            | "Stored" >> beam.Create(self._store.files() if self._store else [])
            | "SpreadStored" >> beam.Reshuffle()
            | "Rows" >> beam.Map(index_rows)
            | "Gather" >> beam.combiners.ToList()
            | "Index" >> beam.Map(index_of)
        )
        done = (
            pipeline
            | "Shards" >> beam.Create(self._files)
            | "Spread" >> beam.Reshuffle()
            | "Label" >> beam.ParDo(self._label, beam.pvalue.AsSingleton(index)).with_outputs(DEAD, main="counts")
        )
        return done["counts"] | "Sum" >> beam.CombineGlobally(summed), done[DEAD]


def summed(counts: Iterable[Counts]) -> Counts:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)
