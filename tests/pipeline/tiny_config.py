"""The values that configs of small runs on the demo's data share."""

from pipeline.demo.demo_data import DEMO_STRONG, DEMO_WEAK


def tiny_values(root):
    return {
        "dataset": {"root": str(root)},
        "categories": {"strong": list(DEMO_STRONG), "weak": list(DEMO_WEAK)},
        "network": {"backbone": "tiny", "weights": None, "image_size": 65},
    }
