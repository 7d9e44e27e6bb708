"""Arrow schemas of every table: the contract between the stages.

Every column carries its documentation as field metadata; ``docs/tables.md`` is generated from it.
A missing count is null, never 0 and never -1. Ids are strings. Times are UTC microseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from likewise.errors import DataError

__all__ = [
    "AUTHORS",
    "AUTHOR_KEY",
    "BLOCKS",
    "COMPARISON",
    "FACES",
    "FETCHED",
    "FETCHES",
    "FOLD_SCORES",
    "KEPT_POSTS",
    "LABELS",
    "LICENCES",
    "MADE_BY",
    "PEOPLE",
    "PICTURES",
    "PICTURE_KEY",
    "POSTS",
    "POST_COUNTS",
    "POST_KEY",
    "SCORES",
    "TABLES",
    "TableSpec",
    "bucket_of",
    "check_schema",
    "features_schema",
    "media_key",
    "same_type",
]

UTC = pa.timestamp("us", tz="UTC")


def _field(name: str, kind: pa.DataType, doc: str, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={b"doc": doc.encode()})


def _key(name: str, kind: pa.DataType, doc: str) -> pa.Field:
    return _field(name, kind, doc, nullable=False)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table's name, what one row is, its key columns and its Arrow schema."""

    name: str
    row: str
    key: tuple[str, ...]
    schema: pa.Schema


POST_KEY = ("platform", "host", "post_id")
PICTURE_KEY = (*POST_KEY, "media_index")
AUTHOR_KEY = ("platform", "host", "author_id")

_POST_KEY = [
    _key("platform", pa.string(), "Platform the record came from, e.g. `mastodon`."),
    _key("host", pa.string(), "Server that was asked, e.g. `pixelfed.example`."),
    _key(
        "post_id",
        pa.string(),
        "The platform's own id of the post, as text; `ID@SERVER` where its author was first seen "
        "through another server than the post.",
    ),
]

MEDIA = pa.struct(
    [
        _key("index", pa.int32(), "Position in the post, from 0."),
        _key("kind", pa.string(), "`image`, `video`, `gifv` or `other`."),
        _field("url", pa.string(), "Address of the original; null when the platform gave none."),
        _field("preview_url", pa.string(), "Address of a smaller copy."),
        _field("width", pa.int32(), "Width in pixels, as the platform reports it."),
        _field("height", pa.int32(), "Height in pixels, as the platform reports it."),
        _field("alt", pa.string(), "The author's own description of the picture."),
    ]
)

_POST_FIELDS = [
    *_POST_KEY,
    _key("author_id", pa.string(), "The platform's own id of the author, as text."),
    _field("url", pa.string(), "Where a person can look at the post."),
    _field("created_at", UTC, "When the author says the post was made."),
    _field("indexed_at", UTC, "When the server first saw the post, where it tells."),
    _key("collected_at", UTC, "When the counts of this row were read."),
    _field("likes", pa.int64(), "Likes, favourites or faves; null when hidden or absent."),
    _field("comments", pa.int64(), "Comments or replies; null when absent."),
    _field("shares", pa.int64(), "Boosts, reposts or shares; null when absent."),
    _field("views", pa.int64(), "Views, where the platform counts them (Flickr); else null."),
    _field("tags", pa.list_(pa.string()), "Hashtags, lower case, without `#`."),
    _field("text", pa.string(), "Caption as plain text, control characters removed."),
    _field("language", pa.string(), "Language code that the platform reports."),
    _field(
        "visibility", pa.string(), "`public`, `unlisted`, ...; null where there is no such idea."
    ),
    _field("sensitive", pa.bool_(), "Marked sensitive by its author or a moderator."),
    _field("labels", pa.list_(pa.string()), "Moderation labels."),
    _field("media", pa.list_(MEDIA), "Pictures and films of the post, in its order."),
]

_AUDIENCE = (
    "What likes are divided by: the author's followers, read nearest to `collected_at`, or the "
    "post's views for the target `likes/views`; null for `likes`."
)

POSTS = TableSpec("posts", "a post", POST_KEY, pa.schema(_POST_FIELDS))

AUTHORS = TableSpec(
    "authors",
    "an author at a moment",
    (*AUTHOR_KEY, "fetched_at"),
    pa.schema(
        [
            *_POST_KEY[:2],
            _key("author_id", pa.string(), "The platform's own id of the author, as text."),
            _field("handle", pa.string(), "Name that the author is addressed by."),
            _field("followers", pa.int64(), "Followers; null when unknown."),
            _field("following", pa.int64(), "Accounts that the author follows."),
            _field("posts_count", pa.int64(), "Posts that the author has made."),
            _field("bot", pa.bool_(), "Declared to be automated."),
            _field("noindex", pa.bool_(), "The author asked not to be indexed."),
            _field("created_at", UTC, "When the account was made."),
            _field(
                "source", pa.string(), "`embedded` in a post, or asked from the `account` endpoint."
            ),
            _key("fetched_at", UTC, "When these counts were read."),
        ]
    ),
)

POST_COUNTS = TableSpec(
    "post_counts",
    "a reading of a post's counts; the newest of each post stands in `posts`",
    (*POST_KEY, "read_at"),
    pa.schema(
        [
            *_POST_KEY,
            _key("author_id", pa.string(), "The platform's own id of the author, as text."),
            _key("read_at", UTC, "When these counts were read."),
            _field(
                "source",
                pa.string(),
                "`embedded` in a page of posts, `asked` for this post, or `imported`. A page that "
                "shows the same counts within a day is no reading of its own.",
            ),
            _field("likes", pa.int64(), "Likes; null when this reading did not tell them."),
            _field("comments", pa.int64(), "Comments; null when this reading did not tell them."),
            _field("shares", pa.int64(), "Shares; null when this reading did not tell them."),
            _field("views", pa.int64(), "Views; null when this reading did not tell them."),
        ]
    ),
)

LICENCES = TableSpec(
    "licences",
    "the licence of a post's pictures, as its platform told it",
    POST_KEY,
    pa.schema(
        [
            *_POST_KEY,
            _key("author_id", pa.string(), "The platform's own id of the author, as text."),
            _key(
                "licence",
                pa.string(),
                "`cc0`, `pdm`, `by`, `by-sa`, `by-nc`, `by-nd`, `by-nc-sa` or `by-nc-nd`; empty "
                "where it is none of these.",
            ),
            _field("licence_version", pa.string(), "Version of the licence, e.g. `4.0`."),
            _field("licence_url", pa.string(), "Address of the licence's text."),
            _field("licence_before", pa.string(), "Licence that an earlier reading told."),
            _field("title", pa.string(), "Title of the work."),
            _field("creator", pa.string(), "Who made it, plain text."),
            _field("creator_url", pa.string(), "A page about who made it."),
            _field("landing_page", pa.string(), "Where a person can look at the work."),
            _field("source", pa.string(), "Who publishes it, e.g. `flickr` or `wikimedia`."),
            _field("rank", pa.int32(), "Place among the results of its search, from 0."),
            _field("created_at", UTC, "When the work was published there."),
            _key("collected_at", UTC, "When the licence was read."),
        ]
    ),
)

KEPT_POSTS = TableSpec(
    "kept_posts",
    "a post that passed the rules; captions, tags and media stay in `posts`",
    POSTS.key,
    pa.schema(
        [
            *_POST_KEY,
            _key("author_id", pa.string(), "The platform's own id of the author, as text."),
            _field("created_at", UTC, "When the author says the post was made."),
            _field("likes", pa.int64(), "Likes of the post."),
            _field("likes_at", UTC, "When these likes were read: `read_at` of `post_counts`."),
            _field("audience", pa.int64(), _AUDIENCE),
            _field("audience_at", UTC, "When that audience was read."),
            _field(
                "age_days",
                pa.float64(),
                "Days from `indexed_at` (`created_at` where absent) to `collected_at`.",
            ),
            _field(
                "robust_z",
                pa.float64(),
                "Modified z-score of the author's latest audience; null for the target `likes`.",
            ),
        ]
    ),
)

_PICTURE_ID = _key("picture_id", pa.string(), "sha256 of the picture's bytes, hexadecimal.")
_BUCKET = "Bucket of the picture, by its id; the same in every table. See `bucket_of`."

FETCHES = TableSpec(
    "fetches",
    "what came of asking for one picture of one post",
    PICTURE_KEY,
    pa.schema(
        [
            *_POST_KEY,
            _key("media_index", pa.int32(), "Position of the picture in its post, from 0."),
            _key("author_id", pa.string(), "The platform's own id of the author."),
            _key("bucket", pa.int32(), "Bucket that the row is published in; see `bucket_of`."),
            _key("url", pa.string(), "Address that was asked."),
            _field(
                "picture_id",
                pa.string(),
                "sha256 of what was served, hexadecimal; null when nothing was. Its bytes stand in "
                "`pictures` when the status is `ok`.",
            ),
            _field("n_bytes", pa.int64(), "Length of what was served."),
            _field("width", pa.int32(), "Width in pixels after EXIF orientation."),
            _field("height", pa.int32(), "Height in pixels after EXIF orientation."),
            _key("status", pa.string(), "`ok`, `rejected` (hygiene or manners) or `failed`."),
            _field("error_class", pa.string(), "Named reason when the status is not `ok`."),
            _field("http_status", pa.int32(), "Last HTTP status, where there was an answer."),
            _key("attempts", pa.int32(), "Requests made for this row so far."),
            _field("fetched_at", UTC, "When the last request ended."),
        ]
    ),
)

PICTURES = TableSpec(
    "pictures",
    "a picture: distinct bytes, however many posts show them",
    ("picture_id",),
    pa.schema(
        [
            _PICTURE_ID,
            _key("bucket", pa.int32(), _BUCKET),
            _key("bytes", pa.binary(), "The file exactly as it was served."),
            _key("n_bytes", pa.int64(), "Length of the file."),
            _field("format", pa.string(), "Format found in the bytes: `jpeg`, `png`, `webp`, ..."),
            _field("width", pa.int32(), "Width in pixels after EXIF orientation."),
            _field("height", pa.int32(), "Height in pixels after EXIF orientation."),
            _field("orientation", pa.int8(), "EXIF orientation found, 1-8; decoders apply it."),
            _field("phash", pa.int64(), "64-bit perceptual hash, as a signed integer."),
        ]
    ),
)

FETCHED = pa.schema(
    [
        *(FETCHES.schema.field(name) for name in (*PICTURE_KEY, "author_id", "bucket", "url")),
        FETCHES.schema.field("picture_id"),
        _field("bytes", pa.binary(), "What was served; null unless `ok`."),
        FETCHES.schema.field("n_bytes"),
        *(PICTURES.schema.field(n) for n in ("format", "width", "height", "orientation", "phash")),
        *(
            FETCHES.schema.field(name)
            for name in ("status", "error_class", "http_status", "attempts", "fetched_at")
        ),
    ]
)
"""A fetch with the picture that it brought: rows of the spool, and of ``pictures`` until 0.2."""

BOX = pa.struct(
    [
        _key("x", pa.float32(), "Left edge in pixels of the upright picture."),
        _key("y", pa.float32(), "Top edge in pixels."),
        _key("width", pa.float32(), "Width in pixels."),
        _key("height", pa.float32(), "Height in pixels."),
    ]
)

_MAKER = _field(
    "maker",
    pa.string(),
    "Fingerprint of who made the row: network or detector, weights, preprocessing and code.",
)

FACES = TableSpec(
    "faces",
    "the answer of a detector about one picture",
    ("picture_id", "detector"),
    pa.schema(
        [
            _PICTURE_ID,
            _key("bucket", pa.int32(), _BUCKET),
            _key("detector", pa.string(), "`yunet`, `dlib-hog`, `dlib-cnn` or `haar`."),
            _MAKER,
            _field("n_faces", pa.int32(), "Faces at or above the confidence threshold."),
            _field("best_confidence", pa.float32(), "Highest confidence; null without any box."),
            _field("boxes", pa.list_(BOX), "All boxes, most confident first."),
            _field("confidences", pa.list_(pa.float32()), "Confidence of each box, same order."),
            _field(
                "landmarks",
                pa.list_(pa.list_(pa.float32())),
                "x0, y0, x1, y1, ... of each face in pixels; null where the detector has none.",
            ),
            _field(
                "turned",
                pa.int32(),
                "Degrees, counter-clockwise, by which the picture was turned to see its faces.",
            ),
            _key("status", pa.string(), "`ok` or `failed`."),
            _field("error_class", pa.string(), "Named reason when the status is `failed`."),
        ]
    ),
)

LABELS = TableSpec(
    "labels",
    "a labelled picture",
    ("picture_id",),
    pa.schema(
        [
            _PICTURE_ID,
            *_POST_KEY,
            _key("media_index", pa.int32(), "Position of the picture in its post."),
            _key("bucket", pa.int32(), _BUCKET),
            _key("author_id", pa.string(), "The platform's own id of the author."),
            _field("likes", pa.int64(), "Likes of the post."),
            _field("likes_at", UTC, "When these likes were read: `read_at` of `post_counts`."),
            _field("audience", pa.int64(), _AUDIENCE),
            _field("audience_at", UTC, "When that audience was read."),
            _field("created_at", UTC, "When the post was made."),
            _field("age_days", pa.float64(), "Age of the post when it was read."),
            _field("n_faces", pa.int32(), "Faces found at the chosen threshold."),
            _field("ratio", pa.float64(), "likes / audience, after any stated correction."),
            _key(
                "label",
                pa.int16(),
                "1 above the median (good), 0 otherwise (bad); or the number of the class, whose "
                "names the manifest holds.",
            ),
            _field("class", pa.string(), "Name of the class; null where likes are asked."),
            _field(
                "group_key",
                pa.string(),
                "What stands on one side only: author or post, with near copies; for likes the "
                "author's block of time where such blocks are dealt, else null.",
            ),
            _key("weight", pa.float64(), "Weight in training; 1 unless said."),
            _key("fold", pa.int32(), "Cross-validation fold of the author or group, 0 ... k-1."),
            _key(
                "split",
                pa.string(),
                "`train`, `validation` (classes only) or `test`; an author or group is in one.",
            ),
        ]
    ),
)

REVIEWS = TableSpec(
    "reviews",
    "what a person, or a rule that a person applied, said of a picture's class; nothing is changed",
    ("picture_id", "reviewed_at", "reviewer"),
    pa.schema(
        [
            _PICTURE_ID,
            _key("reviewer", pa.string(), "Who said it; `clean-labels` for a rule."),
            _key("reviewed_at", UTC, "When it was said; the newest of a picture counts."),
            _field("old_label", pa.string(), "Class before."),
            _field("new_label", pa.string(), "Class said; null where the picture was rejected."),
            _field("score", pa.float64(), "Belief in the old class then, out of fold, 0 ... 1."),
            _field("reason", pa.string(), "Why, in a few words."),
            _field("model", pa.string(), "Whose belief `score` is; null where nobody noted it."),
            _field("version", pa.int32(), "Number of the line in the picture's history, from 1."),
            _field("seen", pa.int32(), "Version that the reviewer saw; 0: nobody else's review."),
            _field("review_id", pa.int64(), "Line of the reviews database; null of other origin."),
        ]
    ),
)

_FEATURES = [
    _PICTURE_ID,
    _key("bucket", pa.int32(), _BUCKET),
    _key("backbone", pa.string(), "Network that made the row, e.g. `alexnet`."),
    _MAKER,
    _key("flipped", pa.bool_(), "True for the mirror image."),
    _key("status", pa.string(), "`ok` or `failed`."),
    _field("error_class", pa.string(), "Named reason when the status is `failed`."),
]


def features_schema(layers: Sequence[str]) -> pa.Schema:
    """Schema of ``features`` with one float32 list column for each of ``layers``."""
    columns = [
        _field(layer, pa.list_(pa.float32()), f"Activations of layer `{layer}`.")
        for layer in layers
    ]
    return pa.schema([*_FEATURES, *columns])


FEATURES = TableSpec(
    "features",
    "one view of a picture",
    ("picture_id", "flipped", "backbone"),
    features_schema(["fc6", "fc7"]),
)

SCORES = TableSpec(
    "scores",
    "a model's opinion of a picture",
    ("picture_id", "model"),
    pa.schema(
        [
            _PICTURE_ID,
            _key("model", pa.string(), "Name of the saved model."),
            *_POST_KEY[:2],
            _key("author_id", pa.string(), "The platform's own id of the author."),
            _key(
                "score",
                pa.float64(),
                "Mean raw score of the views; larger means better liked. For classes, log-odds of "
                "the picture's own class against the likeliest other.",
            ),
            _field(
                "probability",
                pa.float64(),
                "Calibrated probability of the label 1, or of the picture's own class; null where "
                "the calibration was refused, and for a class that no model may learn.",
            ),
            _field("said", pa.string(), "Likeliest class; null where likes are asked."),
            _field("certainty", pa.float64(), "Its probability; null where likes are asked."),
            _key("rank", pa.int64(), "1 is the best of all; ties go by picture_id."),
            _key("rank_in_author", pa.int64(), "1 is the best of its author."),
        ]
    ),
)

FOLD_SCORES = TableSpec(
    "fold_scores",
    "one model's score of a training picture by the fit that had left its fold out",
    ("picture_id", "model"),
    pa.schema(
        [
            _PICTURE_ID,
            _key("model", pa.string(), "Name of the saved model."),
            *_POST_KEY[:2],
            _key("author_id", pa.string(), "The platform's own id of the author."),
            _key("fold", pa.int32(), "The fold that was left out, 0 ... k-1."),
            _key("score", pa.float64(), "Raw score, views averaged; larger means better liked."),
            _field(
                "probability",
                pa.float64(),
                "Calibrated probability of the label 1; null where the calibration was refused.",
            ),
        ]
    ),
)

COMPARISON = TableSpec(
    "comparison",
    "one score of one classifier or baseline",
    ("layer", "set", "classifier", "parameters", "part", "fold", "metric"),
    pa.schema(
        [
            _field("layer", pa.string(), "Feature layer; null for a baseline."),
            _field("set", pa.string(), "`normal` or `flipped`; null for a baseline."),
            _key("classifier", pa.string(), "Classifier, or `baseline:NAME`."),
            _field("model", pa.string(), "Name of the saved model, where there is one."),
            _key("parameters", pa.string(), "Grid point, e.g. `C=0.001`; empty without a grid."),
            _key("part", pa.string(), "`cv` (training authors), `held` (validation) or `test`."),
            _field("fold", pa.int32(), "Fold of a `cv` row; null for the mean and for `test`."),
            _key(
                "metric",
                pa.string(),
                "`average_precision`, `roc_auc`, `accuracy` or `brier`; for classes `top_1`, "
                "`top_3`, `cross_entropy`, `recall:CLASS` and `precision:CLASS`.",
            ),
            _field("value", pa.float64(), "The score; null when the fit diverged."),
            _field("low", pa.float64(), "Lower end of the 95 % interval (leaving authors out)."),
            _field("high", pa.float64(), "Upper end of the 95 % interval."),
            _key("made_by", pa.string(), "Program that made the number."),
        ]
    ),
)

PEOPLE = TableSpec(
    "people",
    "an author's place, drawn once",
    AUTHOR_KEY,
    pa.schema(
        [
            *_POST_KEY[:2],
            _key("author_id", pa.string(), "The platform's own id of the author."),
            _key("fold", pa.int32(), "Cross-validation fold, 0 ... k-1."),
            _key("split", pa.string(), "`train` or `test`."),
        ]
    ),
)

BLOCKS = TableSpec(
    "blocks",
    "a block of an author's time, its place drawn once",
    (*AUTHOR_KEY, "block"),
    pa.schema(
        [
            *_POST_KEY[:2],
            _key("author_id", pa.string(), "The platform's own id of the author."),
            _key("block", pa.string(), "First day of the block, a Monday: 2024-01-29."),
            _key("fold", pa.int32(), "Cross-validation fold, 0 ... k-1."),
            _key("split", pa.string(), "`train` or `test`."),
        ]
    ),
)

TABLES: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (
        POSTS,
        AUTHORS,
        POST_COUNTS,
        LICENCES,
        KEPT_POSTS,
        FETCHES,
        PICTURES,
        FACES,
        LABELS,
        FEATURES,
        COMPARISON,
        FOLD_SCORES,
        SCORES,
        PEOPLE,
        BLOCKS,
        REVIEWS,
    )
}

MADE_BY = {
    "posts": "collect",
    "authors": "collect",
    "post_counts": "collect",
    "licences": "collect",
    "kept_posts": "clean",
    "fetches": "download",
    "pictures": "download",
    "faces": "faces",
    "labels": "label",
    "features": "extract",
    "comparison": "compare",
    "scores": "rank",
}
"""Table -> the verb that makes it."""


def media_key(platform: str, host: str, post_id: str, media_index: int) -> str:
    """The text that identifies one picture of one post, before its bytes are known."""
    return f"{platform}/{host}/{post_id}/{media_index}"


def bucket_of(key: str, n_buckets: int) -> int:
    """Bucket of a row: the same on every machine and in every Python (unlike ``hash``)."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") % n_buckets


def check_schema(actual: pa.Schema, expected: pa.Schema, table: str) -> None:
    """Raise DataError naming the first column that is missing, surplus or of another type."""
    names = set(actual.names)
    for field in expected:
        if field.name not in names:
            raise DataError(f"table {table}: column {field.name!r} ({field.type}) is missing")
        found = actual.field(field.name).type
        if not same_type(found, field.type):
            raise DataError(
                f"table {table}: column {field.name!r} is {found}, expected {field.type}"
            )
    surplus = _first(name for name in actual.names if name not in set(expected.names))
    if surplus is not None:
        raise DataError(f"table {table}: column {surplus!r} is not in the schema")


def same_type(found: pa.DataType, expected: pa.DataType) -> bool:
    """Types agree up to the nullability and the names of nested fields (Spark rewrites both)."""
    if pa.types.is_list(found) and pa.types.is_list(expected):
        return same_type(found.value_type, expected.value_type)
    if pa.types.is_struct(found) and pa.types.is_struct(expected):
        return [field.name for field in found] == [field.name for field in expected] and all(
            same_type(left.type, right.type) for left, right in zip(found, expected, strict=True)
        )
    return bool(found == expected)


def _first(names: Iterable[str]) -> str | None:
    return next(iter(names), None)
