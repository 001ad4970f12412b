"""Package metadata and the `transferseg` command. Versions are fixed by requirements.lock, not here.

tests/test_release.py holds what is imported against `install_requires`.
"""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="transferseg",
    version="0.2.0",
    description="Transferable semi-supervised semantic segmentation: masks for some categories, tags for the rest.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.11",
    packages=find_packages(include=["pipeline*", "components*", "trainer*", "serving*"]),
    py_modules=["transferseg"],
    package_data={
        "pipeline.report": ["*.jinja", "*.css", "*.js"],
        "pipeline.init": ["*.jinja"],
        "serving": ["deploy/*"],
    },
    install_requires=[
        "tensorflow>=2.15,<2.16",
        "keras>=2.15,<2.16",
        "tensorflow-addons==0.23.0",
        "tfx==1.15.1",
        "ml-metadata",
        "tensorflow-data-validation",
        "tensorflow-metadata",
        "tensorflow-model-analysis",
        "tensorflow-serving-api>=2.15,<2.16",
        "apache-beam>=2.50,<2.69",
        "kfp-pipeline-spec",
        "opencv-python-headless",
        "scikit-image",
        "numpy<2",
        "scipy",
        "threadpoolctl",
        "h5py",
        "protobuf",
        "grpcio",
        "requests<2.32",  # tfx's docker client breaks with newer ones
        "etils[epath]",
        "prometheus-client",
        "python-json-logger",
        "absl-py",
        "click",
        "PyYAML",
        "pydantic>=2",
        "rich",
        "tqdm",
        "Jinja2",
        "matplotlib",
        "Pillow",
        "pycocotools",
    ],
    extras_require={
        "cuda": ["tensorflow[and-cuda]>=2.15.1,<2.16"],  # for NVIDIA GPUs: CUDA 12.2, cuDNN 8.9
        "formats": ["datumaro==1.12.0"],  # for `transferseg import other`
        "hf": ["huggingface_hub>=1"],  # for `transferseg push hf`
        "onnx": ["tf2onnx==1.17.0", "onnxruntime"],  # for `transferseg export --format onnx`
    },
    entry_points={"console_scripts": ["transferseg=pipeline.cli:main"]},
)
