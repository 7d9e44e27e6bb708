"""``likewise.toml``: every parameter of every stage, validated.

Unknown keys, wrong types and impossible values are refused with file, line, key path, what was
expected and the nearest valid key. ``docs/configuration.md`` and the commented file that
``likewise init`` writes are generated from these models.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from likewise.errors import ConfigError
from likewise.hygiene import MAX_ASPECT, MAX_PIXELS, MIN_CONTRAST, MIN_SIDE

__all__ = ["Config", "Section", "load", "parse", "render", "toml_text"]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StudySection(Section):
    """The study itself."""

    name: str = Field("my study", description="Title of the report.")
    seed: int = Field(1, ge=0, description="Seed of folds, samples and classifiers.")
    store: str = Field(
        "",
        pattern=r"^$|^(s3|gs|abfs)://[^/]+",
        description="Where the tables lie: s3://BUCKET/PREFIX, gs:// or abfs://; empty is the "
        "study's own folder. Journal and models stay in the folder.",
    )


class SparkSection(Section):
    """Apache Spark."""

    master: str = Field("local[*]", description="Spark master URL; local[*] is this machine.")
    driver_memory: str = Field(
        "2g", pattern=r"^\d+[kmgt]$", description="Heap of the driver's JVM."
    )
    partitions: int = Field(0, ge=0, description="Shuffle partitions; 0 lets likewise choose.")
    conf: dict[str, str] = Field(
        {},
        description='Any setting of Spark\'s own, by its name: "spark.executor.memory" = "4g". '
        "It may also stand under [spark] by itself. What spark-submit is given wins.",
    )

    @model_validator(mode="before")
    @classmethod
    def _settings_of_spark(cls, raw: Any) -> Any:
        """Take ``spark.*`` keys, quoted or dotted, as settings of Spark."""
        if not isinstance(raw, dict):
            return raw
        own = {key: value for key, value in raw.items() if not key.startswith("spark")}
        given = {key: value for key, value in raw.items() if key.startswith("spark")}
        found = _flat(given) | _flat(raw.get("conf") or {})
        wrong = [key for key in found if not key.startswith("spark.")]
        if wrong:
            raise ValueError(f"{wrong[0]} is no setting of Spark: their names begin with spark.")
        return {**own, "conf": found} if found else own


def _flat(tree: Mapping[str, Any], head: str = "") -> dict[str, str]:
    """Dotted keys of TOML are tables in tables; Spark's settings are words."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{head}{key}.")
        else:
            found[head + key] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


class MonitorSection(Section):
    """What monitoring reads after every `likewise run`; see docs/operations.md."""

    textfile: str = Field(
        "",
        pattern=r"^$|^/",
        description="Folder of node_exporter's textfile collector, from the root; empty: none.",
    )
    pushgateway: str = Field(
        "",
        pattern=r"^$|^https?://[^/]+",
        description="Address of a Pushgateway, e.g. http://127.0.0.1:9091; empty: none.",
    )


class Source(Section):
    """One place to collect from."""

    platform: str = Field(description="Which adapter speaks to it, e.g. `mastodon`.")
    host: str = Field(
        description="Server, e.g. `https://pixelfed.example`; a folder for instagram-v1.",
        min_length=1,
    )
    permission: str = Field(
        "",
        description="Who allowed the collection, when and where it is written down. "
        "Required for fediverse servers: without it likewise does not collect.",
    )
    tags: list[str] = Field([], description="Hashtags to follow, without `#`.")
    accounts: list[str] = Field([], description="User names whose posts to read.")
    keywords: list[str] = Field(
        [], description="What to search for (openverse, commons, flickr); each is a class."
    )
    licences: list[str] = Field(
        ["cc0", "pdm", "by", "by-sa"],
        description="Licences of search results that may stay: cc0, pdm, by, by-sa, by-nc, by-nd, "
        "by-nc-sa, by-nc-nd.",
    )
    results: Positive = Field(
        600, description="Results of one search that are read, as far as the platform shows them."
    )
    since: dt.date | None = Field(None, description="Oldest day to collect.")
    until: dt.date | None = Field(None, description="First day not to collect any more.")
    max_posts: Positive = Field(200_000, description="Stop after this many posts.")
    requests_per_second: float | None = Field(
        None,
        gt=0,
        description="Most calls a second to this server, as its operators asked; "
        "empty keeps the platform's own limits only.",
    )
    at_once: Positive | None = Field(
        None, description="Most calls to this server at once; empty: `concurrency`."
    )


class CollectSection(Section):
    """`likewise collect`: platforms -> posts, authors."""

    sources: list[Source] = Field([], description="Places to collect from, one table each.")
    concurrency: int = Field(50, ge=1, le=1000, description="Requests in flight at once.")
    timeout_s: float = Field(30.0, gt=0, description="Limit of one request, seconds.")
    max_attempts: Positive = Field(
        6, description="Tries of one request before it counts as failed."
    )
    keep_raw: bool = Field(False, description="Keep every page as gzip JSON, secrets stripped.")
    contact: str = Field(
        "", description="Address put into the User-Agent, so that hosts can reach you."
    )
    include_sensitive: bool = Field(False, description="Keep posts marked sensitive.")
    include_bots: bool = Field(False, description="Keep posts of declared bots.")
    stills: bool = Field(
        False,
        description="Take the platform's still picture of a film as its picture; `kind` in "
        "`posts.media` says which are films.",
    )
    max_vanished_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="`refresh` erases nothing when more than this share of the posts would vanish "
        "in one run, and more than `max_vanished_posts`.",
    )
    max_vanished_posts: int = Field(
        20, ge=0, description="Posts that may vanish in one `refresh` whatever their share."
    )
    leases: str = Field(
        "",
        description="PostgreSQL database through which several collectors share the hosts, "
        "`postgresql://USER@HOST/DATABASE`, its password in ~/.pgpass or PGPASSWORD; empty: one "
        "collector. See docs/operations.md.",
    )
    lease_s: float = Field(
        60.0, gt=0, description="A collector that is not heard of for so long loses its hosts, s."
    )
    leased_at_once: Positive = Field(
        4, description="Hosts that one of several collectors reads at once."
    )


class CleanSection(Section):
    """`likewise clean`: which posts and authors count."""

    min_age_days: float = Field(30.0, ge=0, description="Younger posts still gather likes.")
    scale: Literal["log1p", "raw"] = Field(
        "log1p", description="Scale of the MAD rule; `raw` reproduces the paper."
    )
    threshold: float = Field(3.5, gt=0, description="Largest modified z-score that stays.")
    keep_share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of the authors to keep instead, e.g. 0.6; `clean` prints the threshold "
        "that this means.",
    )
    max_likes_per_follower: float = Field(
        20.0,
        gt=0,
        description="More likes than this times the followers is a wrong or stale count.",
    )
    earliest: dt.date = Field(
        dt.date(2004, 2, 1), description="Posts dated earlier are impossible: nothing was open yet."
    )
    max_gap_days: float = Field(
        90.0,
        gt=0,
        description="A follower count read further than this from the likes is stale, days.",
    )
    exact_up_to: Positive = Field(
        5_000_000,
        description="Distinct follower counts up to which the median is exact; "
        "beyond, counts are rounded to four digits first.",
    )


class DownloadSection(Section):
    """`likewise download`: the bytes behind the media URLs."""

    concurrency: int = Field(32, ge=1, le=1000, description="Downloads at once.")
    per_host: int = Field(8, ge=1, le=200, description="Downloads at once from one host.")
    timeout_s: float = Field(30.0, gt=0, description="Limit of one download, seconds.")
    max_bytes: Positive = Field(20_000_000, description="Larger files are refused.")
    max_in_flight: Positive = Field(
        256_000_000, description="Bytes of pictures in memory at once, over all downloads."
    )
    max_pixels: Positive = Field(MAX_PIXELS, description="Pictures of more pixels are refused.")
    min_side: Positive = Field(MIN_SIDE, description="Smaller pictures are rejected, pixels.")
    max_aspect: float = Field(
        MAX_ASPECT, gt=1, description="Longer strips are rejected, long side / short."
    )
    min_contrast: float = Field(
        MIN_CONTRAST,
        ge=0,
        description="Uniform pictures are rejected: standard deviation, levels of 255.",
    )
    keep_near_white: bool = Field(
        False,
        description="Keep pages of text and drawings: below `min_contrast`, but marks on white.",
    )
    max_attempts: Positive = Field(4, description="Tries of one address.")
    breaker: float = Field(
        0.95,
        gt=0,
        description="Stop when this share failed for one reason: a bug or a ban; 2 never stops.",
    )
    workers: int = Field(0, ge=0, description="Processes that decode; 0: one for each core.")
    allow_hosts: list[str] = Field(
        [], description="Hosts that may resolve to private or loopback addresses."
    )
    buckets: int = Field(16, ge=1, le=4096, description="Pieces in which tables are published.")


class FacesSection(Section):
    """`likewise faces`: which pictures show people."""

    detector: Literal["auto", "yunet", "dlib-hog", "dlib-cnn", "haar", "none"] = Field(
        "auto", description="`auto` takes YuNet where its model is at hand, else dlib's HOG."
    )
    input_side: int = Field(
        0, ge=0, description="Longest side given to the detector; 0: its default."
    )
    min_confidence: float | None = Field(
        None, description="Least confidence; empty takes the detector's calibrated default."
    )
    turned: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Try a picture without faces in the three other positions, too: four "
        "detections for one; `auto` leaves out those of a film frame's size.",
    )


class QuestionSection(Section):
    """What is asked of every picture: is it liked, or which class is it of."""

    kind: Literal["likes", "classes", "reviewed"] = Field(
        "likes",
        description="`likes` (good or bad), `classes` (what folders, columns or tags say), or "
        "`reviewed` (classes as people corrected them).",
    )
    source: Literal["label", "tag"] = Field(
        "label", description="Where classes come from: the imported label or folder, or hashtags."
    )
    classes: list[str] = Field(
        [], description="The classes, in order; empty takes every one that is found."
    )
    neither: str = Field(
        "", description="Name of a class for pictures of none of `classes`; empty leaves them out."
    )
    unseen: list[str] = Field(
        [], description="Classes to hold out whole, to measure what is let through of the unknown."
    )
    min_pictures: Positive = Field(2, description="Least pictures of a class.")
    group: Literal["auto", "author", "post", "time"] = Field(
        "auto",
        description="What stands on one side only, with its near copies. `auto`: for classes the "
        "author where every class has ten, else the post; for likes the author, or blocks of "
        "`time` of an author where there are too few to fill the folds.",
    )
    copies: Literal["group", "drop"] = Field(
        "group",
        description="Near copies stand on one side (`group`), or one of them stays (`drop`) and "
        "none where they are of different classes.",
    )
    balance: bool = Field(
        False, description="Take as many pictures of each class as the smallest one has."
    )
    per_class: int = Field(
        0, ge=0, description="Most pictures of a class, the first of its search; 0 takes all."
    )
    test_from: list[str] = Field(
        [],
        description="Publishers (`flickr`, `wikimedia`, ...) whose pictures are the test part, and "
        "nothing but the test part.",
    )
    split: str = Field(
        "80/10/10",
        pattern=r"^\d{1,3}[/:]\d{1,3}([/:]\d{1,3})?$",
        description="Shares of training, validation and test, or of training and test.",
    )

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares of training, validation and test; they sum to 1."""
        parts = [int(part) for part in re.split("[/:]", self.split)]
        train, *between, test = parts
        total = sum(parts)
        return train / total, sum(between) / total, test / total


class LabelSection(Section):
    """`likewise label`: what counts as liked."""

    method: Literal["pooled", "per-author", "own-level"] = Field(
        "pooled",
        description="Above the median of all (the paper), of the author's own posts, or of the "
        "author's posts around it in time (always so where blocks of time are dealt).",
    )
    around: int = Field(
        30, ge=8, le=1000, description="Posts around a post that make the author's level then."
    )
    block_days: int = Field(
        0,
        ge=0,
        le=366,
        description="Days of a block where blocks of time are dealt; 0 takes a week, or as much "
        "longer as it takes for neighbouring blocks not to be alike.",
    )
    target: Literal["likes/followers", "likes/views", "likes"] = Field(
        "likes/followers", description="Ratio that is compared with its median."
    )
    require_faces: bool = Field(True, description="Keep pictures of people only.")
    margin: float = Field(
        0.0, ge=0, lt=0.5, description="Share of pictures left out on each side of the median."
    )
    min_posts_per_author: Positive = Field(
        4, description="Least posts of an author for `per-author`."
    )
    near_duplicate_radius: int = Field(
        4, ge=0, le=16, description="Hamming radius within which pictures are copies, bits of 64."
    )
    age_correction: bool = Field(False, description="Correct the ratio for the post's age.")
    hour_correction: bool = Field(
        False, description="Correct the ratio for the hour (UTC) of the post."
    )
    folds: int = Field(5, ge=2, le=50, description="Folds by author.")
    test_fraction: float = Field(
        0.25, gt=0, lt=0.9, description="Share of the pictures held out, by whole authors."
    )


class ExtractSection(Section):
    """`likewise extract`: activations of a pretrained network."""

    backbone: str = Field(
        "auto",
        description="Network; `auto` is AlexNet when its weights are at hand, `paper` Caffe's "
        "AlexNet, or EfficientNet-Lite0 where its weights are not.",
    )
    layers: list[str] = Field([], description="Feature layers; empty takes the backbone's own.")
    flip: bool = Field(True, description="Add the mirror image of each picture.")
    pre_relu: bool = Field(False, description="Activations before the ReLU.")
    batch_size: int = Field(
        0, ge=0, le=4096, description="Pictures in one forward pass; 0 suits the backbone."
    )
    storage: Literal["float32", "float16"] = Field(
        "float32", description="Precision of the stored features; float16 halves the table."
    )
    engine: Literal["auto", "onnx", "torch"] = Field("auto", description="What runs the network.")
    precision: Literal["fp32", "int8"] = Field(
        "fp32", description="int8 is faster; measure first: likewise extract --measure-int8."
    )
    random_weights: bool = Field(
        False, description="Untrained weights: for tests and benchmarks only."
    )


class CompareSection(Section):
    """`likewise compare`: which classifier tells good from bad, or classes apart."""

    classifiers: list[
        Literal[
            "linear-svc", "random-forest", "svm-with-sgd", "softmax", "last-layer", "binary-tree"
        ]
    ] = Field(
        ["linear-svc", "random-forest", "svm-with-sgd"],
        min_length=1,
        description="What to compare. For classes also `softmax`, `last-layer` (by steps, 18 "
        "ways) and `binary-tree`; unset it is softmax, linear-svc and random-forest there.",
    )
    layers: list[str] = Field(
        [], description="Feature layers; empty takes all that are there but the logits."
    )
    sets: list[Literal["normal", "flipped"]] = Field(
        ["normal", "flipped"],
        min_length=1,
        description="Train on the originals, or on originals and mirror images.",
    )
    split: Literal["author", "time"] = Field(
        "author",
        description="Held out are whole authors; with `time` also their later posts from the "
        "training authors' earlier ones. The split by time is reported anyway.",
    )
    reviews: bool = Field(
        True,
        description="Learn training labels as people corrected them, where reviews are published; "
        "what that changed is told on pictures that nobody reviewed.",
    )
    most_pictures: Positive = Field(
        200_000,
        description="Pictures that are compared; of more, a sample of whole authors is drawn by a "
        "keyed hash, and the report says how many are left out. 200,000 with 4,096 features and "
        "mirror images are 6.6 GB on the disk, mapped into memory.",
    )
    by_picture: bool = Field(
        False,
        description="Also cross-validate with folds by picture. They leak: an author stands on "
        "both sides. Only to be compared with numbers that were made that way.",
    )
    c_values: list[Annotated[float, Field(gt=0)]] = Field(
        [float(f"1e{e}") for e in range(-6, 6)],
        min_length=1,
        description="C of LinearSVC, cross-validated.",
    )
    trees: Positive = Field(500, description="Trees of the random forest.")
    reg_params: list[Annotated[float, Field(ge=0)]] = Field(
        [float(f"1e{e}") for e in range(-6, 1)],
        min_length=1,
        description="regParam of SVMWithSGD.",
    )
    step_sizes: list[Annotated[float, Field(gt=0)]] = Field(
        [0.1, 1.0, 10.0], min_length=1, description="stepSize of SVMWithSGD."
    )
    sgd_scaling: list[Literal["standardised", "none"]] = Field(
        ["standardised"],
        min_length=1,
        description="Scalings of the features that SVMWithSGD's grid tries.",
    )
    sgd_iterations: Positive = Field(100, description="Iterations of SVMWithSGD.")
    bootstrap: int = Field(
        1000, ge=100, description="Resamples behind intervals that hold together (`explain`)."
    )
    permutations: int = Field(
        1000, ge=0, description="Exchanges of authors in a test; without any nothing is claimed."
    )
    margin: float = Field(
        0.02,
        gt=0,
        lt=0.5,
        description="Differences of average precision below it are of no account: what lies "
        "wholly inside is called about as good.",
    )
    jobs: int = Field(-1, description="Processes; -1 uses every core.")
    reference: Literal["model", "grid"] = Field(
        "model",
        description="What scikit-learn's LinearSVC fits beside the batched solver: the last "
        "model, or also every fold at every C, to check the curve.",
    )
    forest_engine: Literal["scikit-learn", "intelex"] = Field(
        "scikit-learn",
        description="What grows the trees; intelex needs pip install 'likewise[intelex]'.",
    )
    backend: Literal["local", "spark"] = Field(
        "local",
        description="Where trees and LinearSVC's own grid are fitted: on this machine, or on "
        "Spark's executors through joblib; needs pip install 'likewise[cluster]'.",
    )


class FinetuneSection(Section):
    """`likewise finetune`: go on training the network itself."""

    backbone: str = Field("auto", description="Network to start from.")
    random_weights: bool = Field(
        False, description="Start from untrained weights: for tests and benchmarks only."
    )
    reviews: bool = Field(
        True,
        description="Learn training labels as people corrected them, where reviews are published.",
    )
    optimizer: Literal["sgd", "adamw"] = Field(
        "sgd", description="SGD with momentum is the paper's."
    )
    learning_rate: float = Field(0.001, gt=0, description="Of the lower layers.")
    head_factor: float = Field(10.0, gt=0, description="The new head learns this much faster.")
    bias_factor: float = Field(
        1.0, gt=0, description="Biases learn this much faster; 2 in Caffe's examples."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Of SGD.")
    weight_decay: float = Field(
        0.0005, ge=0, description="Pull of the weights to 0; biases and norms are left out."
    )
    schedule: Literal["step", "cosine", "plateau"] = Field(
        "step",
        description="`step` is the paper's; `cosine` falls to 0 at the last iteration; `plateau` "
        "cuts the rate when the loss on validation worsens, and stops when it does not recover.",
    )
    step: Positive = Field(5000, description="Iterations after which the rate is cut.")
    gamma: float = Field(0.1, gt=0, le=1, description="Factor of each cut.")
    iterations: Positive = Field(35_000, description="Iterations in all.")
    batch_size: Positive = Field(50, description="Pictures in one step, over all workers.")
    freeze: bool = Field(False, description="Train the head only.")
    frozen: list[str] = Field(
        [],
        description="Modules of the network that stay as they were, e.g. its stem: "
        '`["conv1", "conv2", "conv3"]` of GoogLeNet.',
    )
    beside_scratch: bool = Field(
        False,
        description="For classes: train the same network from random weights, too, and compare "
        "both on the same test pictures; twice the time.",
    )
    beside_reviews: bool = Field(
        False,
        description="Train the same network on the labels as they were before the reviews, too, "
        "and say what the reviews gained, paired, on pictures that nobody reviewed; twice the "
        "time.",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of each label that is spread over all classes."
    )
    flip: bool = Field(True, description="Mirror training pictures at random.")
    crop: bool = Field(True, description="Crop training pictures at random, not in the middle.")
    colour: float = Field(
        0.0, ge=0, lt=1, description="Largest random change of brightness, contrast, saturation."
    )
    mixed_precision: bool = Field(True, description="Half precision on a GPU; no effect on CPUs.")
    validation_fold: int = Field(
        0, ge=-1, description="Fold of training authors for curves and calibration; -1: none."
    )
    refit: bool = Field(
        False,
        description="After validation, train again on all training authors, for as many "
        "iterations as did best: 3:1 as in the paper, in twice the time.",
    )
    evaluate_every: Positive = Field(500, description="Iterations between two validations.")
    patience: int = Field(
        0, ge=0, description="Validations without progress before it stops; 0 never stops early."
    )
    checkpoint_minutes: float = Field(
        5.0, ge=0, description="Minutes between two checkpoints; 0 makes one every iteration."
    )
    workers: Positive = Field(1, description="Processes; several run through TorchDistributor.")


class RankSection(Section):
    """`likewise rank`: scores, and the best and worst pictures."""

    model: str = Field("auto", description="Saved model; `auto` is the best of the comparison.")
    n: Positive = Field(25, description="Pictures in each gallery.")
    per_author: Positive = Field(3, description="Most pictures of one author in a gallery.")
    near_duplicate_radius: int = Field(
        8, ge=0, le=32, description="Hamming radius within which a gallery shows one copy, bits."
    )
    split: Literal["test", "all"] = Field(
        "test", description="Galleries of held-out authors only, or of all pictures."
    )
    compared: Positive = Field(
        500, description="Most pictures at each end whose properties `explain` compares."
    )


class ReportSection(Section):
    """`likewise report`: one HTML file."""

    title: str = Field("", description="Heading; empty takes the study's name.")
    thumbnail: int = Field(240, ge=64, le=1024, description="Side of the thumbnails, pixels.")


class Config(Section):
    """The whole of ``likewise.toml``."""

    study: StudySection = StudySection()
    spark: SparkSection = SparkSection()
    collect: CollectSection = CollectSection()
    clean: CleanSection = CleanSection()
    download: DownloadSection = DownloadSection()
    faces: FacesSection = FacesSection()
    question: QuestionSection = QuestionSection()
    label: LabelSection = LabelSection()
    extract: ExtractSection = ExtractSection()
    compare: CompareSection = CompareSection()
    finetune: FinetuneSection = FinetuneSection()
    rank: RankSection = RankSection()
    report: ReportSection = ReportSection()
    monitor: MonitorSection = MonitorSection()


def load(path: Path) -> Config:
    """Read and validate a configuration file.

    Raises:
        ConfigError: with file, line, key path, what was expected and the nearest valid key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows editors begin with a BOM
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return parse(text, str(path))


def parse(text: str, source: str = "likewise.toml") -> Config:
    """Validate configuration text; ``source`` names it in errors. Raises ConfigError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from error
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        problems = [_explain(dict(problem), text, source) for problem in error.errors()]
        raise ConfigError(
            "\n".join(problems), hint="every key is described in docs/configuration.md"
        ) from None


def _explain(problem: dict[str, Any], text: str, source: str) -> str:
    keys = [part for part in problem["loc"] if isinstance(part, str)]
    path = ".".join(str(part) for part in problem["loc"])
    line = _line_of(keys, text)
    where = f"{source}:{line}" if line else source
    if problem["type"] == "extra_forbidden":
        return f"{where}: {path} is not a known key{_nearest(keys)}"
    if problem["type"] == "missing":
        return f"{where}: {path} is missing{_expected(keys)}"
    return f"{where}: {path} = {problem['input']!r}: {problem['msg']}{_expected(keys)}"


def _model_at(keys: list[str]) -> type[BaseModel]:
    model: type[BaseModel] = Config
    for key in keys:
        field = model.model_fields.get(key)
        if field is None:
            break
        kinds = [field.annotation, *get_args(field.annotation)]
        inner = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not inner:
            break
        model = inner[0]
    return model


def _nearest(keys: list[str]) -> str:
    names = list(_model_at(keys[:-1]).model_fields)
    close = difflib.get_close_matches(keys[-1], names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(names)}"


def _expected(keys: list[str]) -> str:
    field = _model_at(keys[:-1]).model_fields.get(keys[-1]) if keys else None
    return f" ({field.description})" if field is not None and field.description else ""


def _line_of(keys: list[str], text: str) -> int:
    """Line of the key, 0 when it cannot be told. Sections are followed by their headers."""
    section: list[str] = []
    best = 0
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([\w.\-\"]+)\s*\]+", line)
        if header:
            section = header.group(1).replace('"', "").split(".")
            if section == keys:
                return number
            if keys[: len(section)] == section:
                best = number
            continue
        entry = re.match(r"\s*([\w\-\"]+)\s*=", line)
        if entry and [*section, entry.group(1).strip('"')] == keys:
            return number
    return best


def render(values: dict[str, Any] | None = None) -> str:
    """A commented ``likewise.toml``: defaults as comments, ``values`` (by section) as settings."""
    given = values or {}
    lines = ["# likewise.toml: what to collect, and every parameter of every stage."]
    lines += ["# A line that starts with '#' shows the default; remove the '#' to change it."]
    for name, field in Config.model_fields.items():
        model = field.annotation
        assert isinstance(model, type) and issubclass(model, BaseModel)
        lines += ["", f"# {(model.__doc__ or '').strip()}", f"[{name}]"]
        lines += _render_section(name, model, dict(given.get(name, {})))
    return "\n".join(lines) + "\n"


def _render_section(name: str, model: type[BaseModel], values: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    tables: list[str] = []
    for key, field in model.model_fields.items():
        if key == "sources":
            tables += _EXAMPLE
            for source in values.get(key, []):
                tables += [
                    "",
                    f"[[{name}.{key}]]",
                    *(f"{k} = {toml_text(v)}" for k, v in source.items()),
                ]
            continue
        comment = f"  # {field.description}"
        if key in values:
            lines.append(f"{key} = {toml_text(values[key])}{comment}")
        else:
            default = "" if field.default is None else f" {toml_text(field.default)}"
            lines.append(f"# {key} ={default}{comment}")
    return lines + tables


_EXAMPLE = [
    "",
    "## A place to collect from: one such section for each, without the '##'.",
    "## [[collect.sources]]",
    '## platform = "mastodon"',
    '## host = "https://pixelfed.example"',
    '## tags = ["portrait"]',
    '## accounts = ["someone"]',
    '## permission = "admin@pixelfed.example, mail of 2 May 2026"',
    "## since = 2026-01-01",
]


def toml_text(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{k}" = {toml_text(v)}' for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml_text(item) for item in value) + "]"
    return str(value)
