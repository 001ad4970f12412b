"""Package metadata and the `transferseg` command. Versions are fixed by requirements.lock, not here."""

from setuptools import find_packages, setup

setup(
    name="transferseg",
    version="0.1.0",
    description="Transferable semi-supervised semantic segmentation: masks for some categories, tags for the rest.",
    license="Apache-2.0",
    python_requires=">=3.10,<3.11",
    packages=find_packages(include=["pipeline*", "components*", "trainer*", "serving*"]),
    include_package_data=True,
    package_data={"pipeline.report": ["*.jinja", "*.css", "*.js"], "pipeline.init": ["*.jinja"]},
    install_requires=[
        "tensorflow>=2.15,<2.16",
        "keras>=2.15,<2.16",
        "tensorflow-addons==0.23.0",
        "tfx==1.15.1",
        "apache-beam>=2.50,<2.69",
        "opencv-python-headless",
        "scikit-image",
        "numpy<2",
        "scipy",
        "threadpoolctl",
        "tensorflow-serving-api>=2.15,<2.16",
        "prometheus-client",
        "python-json-logger",
        "click",
        "PyYAML",
        "pydantic>=2",
        "rich",
        "Jinja2",
        "matplotlib",
        "Pillow",
        "pycocotools",
        "psutil",
    ],
    extras_require={"formats": ["datumaro==1.12.0"]},  # for `transferseg import other`
    entry_points={"console_scripts": ["transferseg=pipeline.cli:main"]},
)
