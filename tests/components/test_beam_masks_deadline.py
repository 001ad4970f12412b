"""An image that hangs costs itself, not the job."""

import time

import numpy as np
import pytest
from commands import TIMEOUT_S
from labelling_samples import encode, scene

from components.beam_masks.deadline import OutOfTime, within
from components.beam_masks.images import DEAD, Sample
from components.beam_masks.masks import Result
from components.beam_masks.networks import RunNetworks

pytestmark = pytest.mark.slow  # waits for time limits


def finish_but_hang_on_b(sample, image, outputs, image_sizes):
    if sample.key == "b":
        time.sleep(TIMEOUT_S)
    return Result(sample.key, np.zeros(image.shape[:2], np.uint8), {})


def test_a_hanging_image_is_a_dead_letter_and_the_others_go_on(models):
    networks = RunNetworks([str(models["l_net"])], finish_but_hang_on_b, max_pixels=10**6, timeout_s=TIMEOUT_S)
    networks.setup()
    data = encode(scene(1)[0])
    list(networks.process([Sample("warm", data)]))
    networks._timeout_s = 5
    outputs = list(networks.process([Sample(key, data) for key in "abc"]))
    assert [output.key for output in outputs if isinstance(output, Result)] == ["a", "c"]
    [dead] = [output for output in outputs if not isinstance(output, Result)]
    assert dead.tag == DEAD
    assert dead.value == {"key": "b", "stage": "label", "reason": "gave up after 5 s"}


def test_values_and_errors_come_through():
    assert within(TIMEOUT_S, max, 1, 2) == 2
    with pytest.raises(KeyError, match="x"):
        within(TIMEOUT_S, {}.__getitem__, "x")
    with pytest.raises(OutOfTime):
        within(0.05, time.sleep, 5)
