"""Names within a training batch and within the networks' outputs; those of tf.Examples are in features.py."""

# A batch: float32 [B, S, S, 3], RGB in 0..255; integer [B, S, S] of ids and 255; float32 [B, K], 1 where the image has
# the tag; string [B].
IMAGE, LABELS, TAGS, KEY = "image", "labels", "tags", "key"
# Outputs: logits [B, K]; activation maps [B, g, g, K]; and of exported networks int32 [B, 2], the part that is picture,
# and int32 [B], its EXIF orientation.
SCORES, MAPS, VALID, ORIENTATION = "scores", "maps", "valid", "orientation"
