"""transferseg in Python: load a model and call it, label tagged pictures, train on arrays, score masks.

Pictures are a file's path, its bytes, or uint8 [H, W, 3] RGB; masks are uint8 [H, W] of category ids, 0 background, 255
void. What a person can mend is raised as a `UserError` of one line.
"""

from components.trainers.in_python import train
from components.weak_labels.core.label_config import LabelConfig
from components.weak_labels.core.label_image import LabelResult, label_image
from components.weak_labels.labeller import Labeller, load_labeller
from serving.client import SegmentationClient
from serving.model import Model, Picture, load_model
from trainer.config import NetworkConfig, StageConfig
from trainer.data.categories import Categories, from_lists, named_split, palette
from trainer.errors import UserError
from trainer.metrics import Scores, score_masks

__all__ = [
    "Categories",
    "LabelResult",
    "LabelConfig",
    "Labeller",
    "Model",
    "NetworkConfig",
    "Picture",
    "Scores",
    "SegmentationClient",
    "StageConfig",
    "UserError",
    "from_lists",
    "label_image",
    "load_labeller",
    "load_model",
    "named_split",
    "palette",
    "score_masks",
    "train",
]
