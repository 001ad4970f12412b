"""ImageExampleGen: a VOC-layout folder of images, masks and tags becomes TFX examples in splits strong, weak, eval."""
