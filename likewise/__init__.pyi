# What editors and type checkers see: the verbs with their signatures. A test keeps it complete.
from backbones.embed import embed as embed
from collectors.collect import collect as collect
from collectors.download import download as download
from collectors.forget import forget as forget
from collectors.import_ import import_ as import_
from collectors.overview import budgets as tokens
from collectors.refresh import refresh as refresh
from likewise.checkup import doctor as doctor
from likewise.initialise import init as init
from likewise.nights import prune as prune
from likewise.overview import status as status
from likewise.planning import plan as plan
from likewise.runner import run as run
from likewise.upgrading import upgrade as upgrade
from spark_jobs.clean import clean as clean
from spark_jobs.extract import extract as extract
from spark_jobs.faces import faces as faces
from spark_jobs.label import label as label
from training.compare import compare as compare
from training.diff import diff as diff
from training.explain import explain as explain
from training.export import export as export
from training.finetune import finetune as finetune
from training.rank import rank as rank
from training.report import report as report
from training.score import score as score
from web.reviews.publishing import reviews as reviews

__version__: str
VERBS: dict[str, str]

__all__ = [
    "VERBS",
    "__version__",
    "clean",
    "collect",
    "compare",
    "diff",
    "doctor",
    "download",
    "embed",
    "explain",
    "export",
    "extract",
    "faces",
    "finetune",
    "forget",
    "import_",
    "init",
    "label",
    "plan",
    "prune",
    "rank",
    "refresh",
    "report",
    "reviews",
    "run",
    "score",
    "status",
    "tokens",
    "upgrade",
]
