"""Pictures that cameras store turned (EXIF): their labels fit the stored pixels, whatever the orientation."""

import numpy as np
import pytest
from labelling_samples import CATEGORIES, encode, scene
from PIL import Image

from components.weak_labels.label_folder import label_folder
from trainer.data.categories import VOID


@pytest.mark.parametrize(
    ("mode", "kinds"), [("cam", ["JPEG"]), ("class-agnostic", ["JPEG"]), ("cam", ["PNG", "WEBP", "TIFF", "AVIF"])]
)
def test_labels_fit_the_stored_pixels_of_turned_pictures(models, tmp_path, mode, kinds):
    images, tags, output = tmp_path / "images", tmp_path / "tags.csv", tmp_path / "out"
    images.mkdir()
    picture, truth = scene(1, seed=3)
    lines = ["image,tags"]
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        kind = kinds[orientation % len(kinds)]
        data = encode(Image.fromarray(picture), kind, quality=95, exif=exif)
        (images / f"o{orientation}.{kind.lower()}").write_bytes(data)
        lines.append(f"o{orientation},{CATEGORIES.names[1]}")
    tags.write_text("\n".join(lines) + "\n")
    label_folder(models["l_net"], models["cam"] if mode == "cam" else None, images, tags, output, mode=mode)
    for orientation in range(1, 9):
        mask = np.asarray(Image.open(output / f"o{orientation}.png"))
        assert mask.shape == truth.shape
        certain = mask != VOID
        overlap = ((mask == 1) & (truth == 1))[certain].sum() / ((mask == 1) | (truth == 1))[certain].sum()
        assert overlap > 0.8, orientation
