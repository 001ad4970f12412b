"""Weak examples to labelled ones, shard by shard: a TFRecord file in, the same file with masks out.

No image passes through a shuffle, and none waits for another shard. Order and bytes of what is written depend on the
read file and the recipe alone, not on workers, nor on what was labelled before.
"""

from __future__ import annotations

import base64
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf

from components.beam_masks.images import DEAD, Sample, stamp_of
from components.beam_masks.masks import Result, atomic, write_atomic
from components.beam_masks.networks import RunNetworks
from components.image_example_gen.records import WEAK
from components.weak_labels.examples import LABELS
from components.weak_labels.folder_outputs import box_counts
from components.weak_labels.label_store import LabelStore, labels_in
from components.weak_labels.transform import mask_shares
from trainer.data import features
from trainer.data.features import boxes_of, image_of, key_of, read_examples, tags_of, with_human_mask
from trainer.data.files import to_lines
from trainer.data.masks import encode_grey
from trainer.data.preprocessing import decode_mask

Record = dict[str, Any]
Counts = dict[str, int]
_LOG = logging.getLogger("transferseg")


class LabelShard(beam.DoFn):
    """(TFRecord file of weak examples, files of a store) -> counts; dead letters go to the output `dead`.

    Writes <uri>/Split-weak/<name> with the labelled examples and <uri>/labels/<name>.jsonl with a record of each: key,
    tags, confidence, seed_share, shares (share of the pixels of every id in the final mask), stamp and, of one with
    boxes, boxes ([tag, share of the box that the label covers]). Both are whole or not there.
    """

    def __init__(self, networks: RunNetworks, uri: str, store: LabelStore | None = None):
        """`networks` make the labels, see `transform.label_networks`; `store`, of labels by them, gets the new ones."""
        self._networks, self.store = networks, store
        self._output, self._records = self.folders = f"{uri}/Split-{WEAK}", f"{uri}/{LABELS}"

    def setup(self) -> None:
        self._networks.setup()

    def stamps(self, file: str) -> Iterator[tuple[str, str]]:
        """(stamp, file) of each image."""
        return ((self._sample(example).stamp, file) for example in read_examples(file))

    def process(self, shard: tuple[str, Iterable[str]]) -> Iterator[Counts | beam.pvalue.TaggedOutput]:
        file, stored = shard
        known = {label["stamp"]: label for path in stored for label in labels_in(path)}
        fresh: dict[str, Record] = {}
        dead = 0
        samples = map(self._sample, read_examples(file))
        for result in self._networks.process(sample for sample in samples if sample.stamp not in known):
            if isinstance(result, Result):
                mask = base64.b64encode(encode_grey(result.mask)).decode()
                fresh[result.note["stamp"]] = {**result.note, "mask": mask}
            else:
                dead += 1
                yield result
        self._keep(list(fresh.values()), file)
        records = self._write(file, known | fresh)
        kept = sum(record["stamp"] in known for record in records)
        yield {"labelled": len(records), "kept": kept, "dead": dead, **box_counts(records)}

    def _sample(self, example: tf.train.Example) -> Sample:
        image, tags, boxes = image_of(example), tags_of(example), boxes_of(example)
        stamp = stamp_of(self.store.recipe if self.store else "", tags, image, boxes)
        return Sample(key_of(example), image, tags, stamp, boxes)

    def _keep(self, labels: Sequence[Record], file: str) -> None:
        try:
            if self.store:
                self.store.put(labels)
        except Exception as error:  # the next run makes the labels again
            _LOG.warning("label store: no copy of %d labels of %s (%s)", len(labels), file, error)

    def _write(self, file: str, labels: Mapping[str, Record]) -> list[Record]:
        name, records = file.rpartition("/")[2], []
        with (  # the unfinished file elsewhere: training reads all that is in the split
            atomic(f"{self._output}/{name}", self._records) as unfinished,
            tf.io.TFRecordWriter(unfinished, features.GZIP) as writer,
        ):
            for example in read_examples(file):
                if label := labels.get(self._sample(example).stamp):
                    records.append({"key": key_of(example), **_put(label, example)})
                    writer.write(example.SerializeToString(deterministic=True))
        write_atomic(f"{self._records}/{name}.jsonl", to_lines(records))
        return records


def _put(label: Record, example: tf.train.Example) -> Record:
    """Puts a label into its example, below what a person has drawn there (strong objects) -> the rest of the label."""
    rest, mask = dict(label), base64.b64decode(label["mask"])
    del rest["mask"]
    feature = example.features.feature
    if features.MASK in feature:
        merged = with_human_mask(decode_mask(tf.constant(mask)).numpy(), example)
        mask, rest["shares"] = encode_grey(merged), mask_shares(merged)
    feature[features.MASK].bytes_list.value[:] = [mask]
    feature[features.SOURCE].bytes_list.value[:] = [features.GENERATED]
    return rest


class LabelShards(beam.PTransform):
    """Pipeline -> (PCollection of one sum of `LabelShard`'s counts, PCollection of dead letters).

    What was labelled before is joined by stamp: only stamps and names of files are shuffled.
    """

    def __init__(self, files: Sequence[str], label: LabelShard):
        super().__init__()
        self._files, self._label = files, label

    def expand(self, pipeline: beam.Pipeline) -> tuple[beam.PCollection[Counts], beam.PCollection[dict[str, str]]]:
        for folder in self._label.folders:
            tf.io.gfile.makedirs(folder)
        before = self._label.store.files() if self._label.store else []
        shards = pipeline | "Shards" >> beam.Create(self._files) | "Spread" >> beam.Reshuffle()
        stored = pipeline | "Stored" >> beam.Create(before) | "SpreadStored" >> beam.Reshuffle()
        stamps = stored | beam.FlatMap(lambda path: [(label["stamp"], path) for label in labels_in(path)])
        wanted = shards | beam.FlatMap(self._label.stamps) if before else pipeline | "Nothing" >> beam.Create([])
        found = (wanted, stamps) | "Join" >> beam.CoGroupByKey() | beam.FlatMapTuple(_stored_for)
        done = (
            (shards | beam.Map(lambda file: (file, "")), found)
            | "Together" >> beam.Flatten()
            | beam.GroupByKey()
            | beam.MapTuple(lambda file, paths: (file, sorted({*paths} - {""})))
            | beam.ParDo(self._label).with_outputs(DEAD, main="counts")
        )
        return done["counts"] | "Sum" >> beam.CombineGlobally(summed), done[DEAD]


def _stored_for(_: str, joined: tuple[Iterable[str], Iterable[str]]) -> Iterator[tuple[str, str]]:
    files, paths = map(sorted, joined)
    return ((file, paths[0]) for file in files if paths)


def summed(counts: Iterable[Counts]) -> Counts:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)
