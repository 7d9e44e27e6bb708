"""Which column means what: a guess by name, which is printed, and what the user says instead."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from likewise.errors import UsageError

__all__ = ["COUNTS", "MEANINGS", "TIMES", "guess", "link_or_picture", "missing"]

MEANINGS: dict[str, tuple[str, ...]] = {
    "id": (
        "postid", "shortcode", "postshortcode", "mediaid", "statusid", "tweetid", "photoid", "id",
        "pk", "key", "uuid",
    ),
    "picture": (
        "picture", "picturepath", "picturefile", "image", "imagepath", "imagefile", "imagename",
        "photo", "photopath", "path", "filepath", "file", "filename", "img", "imgpath", "localpath",
        "pictureurl", "imageurl", "imgurl", "photourl", "mediaurl", "displayurl", "thumbnailurl",
        "thumbnail", "media", "images", "photos",
    ),
    "link": ("link", "permalink", "posturl", "postlink", "pageurl", "weburl", "photopage"),
    "likes": (
        "likes", "like", "likecount", "likescount", "numlikes", "numberoflikes", "nlikes", "hearts",
        "favourites", "favorites", "favouritescount", "favoritecount", "favs", "faves",
        "favecount", "countfaves", "reactions", "avglikes", "averagelikes", "likesavg", "meanlikes",
        "totallikes",
    ),
    "followers": (
        "followers", "follower", "followercount", "followerscount", "followscount", "numfollowers",
        "numberoffollowers", "nfollowers", "authorfollowers", "ownerfollowers", "userfollowers",
        "followersnumber", "edgefollowedby", "subscribers", "subscribercount", "fans",
    ),
    "views": (
        "views", "viewcount", "viewscount", "impressions", "plays", "playcount", "countviews",
    ),
    "comments": ("comments", "commentcount", "commentscount", "numcomments", "numberofcomments",
        "replies", "repliescount",
    ),
    "shares": ("shares", "sharecount", "retweets", "retweetcount", "reblogs", "reposts", "boosts"),
    "author": (
        "authorid", "ownerid", "userid", "accountid", "author", "owner", "ownerusername", "user",
        "username", "account", "accountname", "handle", "profile", "influencer", "influencername",
        "creator", "screenname", "channelinfo", "channel", "instagramname",
    ),
    "handle": ("username", "handle", "screenname", "ownerusername", "authorname", "accountname"),
    "date": (
        "date", "createdat", "created", "timestamp", "takenattimestamp", "takenat", "datetime",
        "postedat", "posted", "dateposted", "posttime", "postdate", "publishedat", "published",
        "time", "datetaken",
    ),
    "collected_at": (
        "collectedat", "scrapedat", "readat", "retrievedat", "fetchedat", "crawledat",
        "snapshotdate", "scrapedate", "crawldate",
    ),
    "tags": ("tags", "hashtags", "keywords"),
    "text": ("caption", "text", "description", "message", "content", "title"),
    "label": ("label", "class", "category", "classname"),
    "sensitive": ("sensitive", "nsfw"),
    "following": ("following", "followingcount", "followees", "follows"),
    "posts_count": ("postscount", "mediacount", "numposts", "numberofposts", "statusescount",
        "posts",
    ),
}  # fmt: skip
"""Meaning -> names of columns that have it, likeliest first, without case and signs."""

COUNTS = ("likes", "followers", "views", "comments", "shares", "following", "posts_count")
TIMES = ("date", "collected_at")

_PICTURE_ADDRESS = re.compile(r"\.(jpe?g|png|webp|gif|avif)(\?\S*)?$", re.IGNORECASE)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def guess(
    columns: Sequence[str], given: Mapping[str, str], sample: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Meaning -> column. What ``given`` says holds; each other column gets one meaning at most.

    ``sample`` holds some values of each column: a column ``url`` is the picture when its addresses
    end as pictures do, else the link.

    Raises:
        UsageError: ``given`` names a meaning or a column that there is not.
    """
    for meaning, column in given.items():
        if meaning not in MEANINGS:
            raise UsageError(f"--map {meaning}=...: the meanings are {', '.join(MEANINGS)}")
        if column not in columns:
            raise UsageError(
                f"--map {meaning}={column}: there is no column {column!r}; "
                f"there are {', '.join(columns)}"
            )
    found = dict(given)
    by_name: dict[str, str] = {}
    for column in columns:
        by_name.setdefault(_plain(column.rsplit(".", 1)[-1]), column)
        by_name[_plain(column)] = column
    for meaning, names in MEANINGS.items():
        taken = set(found.values())
        if meaning not in found:
            known = (by_name[one] for one in names if one in by_name)
            named = next((column for column in known if column not in taken), None)
            if named is not None:
                found[meaning] = named
    plain_url = by_name.get("url")
    if plain_url is not None and plain_url not in found.values():
        meaning = link_or_picture(sample.get(plain_url, ()))
        found.setdefault("link" if "picture" in found else meaning, plain_url)
    return found


def link_or_picture(values: Sequence[str]) -> str:
    """Whether addresses are those of pictures, for most of them."""
    pictures = sum(bool(_PICTURE_ADDRESS.search(value)) for value in values)
    return "picture" if values and pictures * 2 > len(values) else "link"


def missing(has: set[str], *, classes: bool) -> list[str]:
    """What a source without some meanings makes impossible, one sentence each.

    Args:
        has: what the source tells.
        classes: the study asks which class a picture is of, not what is liked.
    """
    lines = []
    if classes:
        if not has & {"label", "tags"}:
            lines.append(
                "no label and no hashtag: nothing says which class a picture is of; folders named "
                "after classes do, or a column: --map label=COLUMN"
            )
    else:
        if "likes" not in has:
            lines.append(
                "no likes: nothing can be labelled by likes, clean drops every post for that "
                "question"
            )
        if "followers" not in has and "views" in has:
            lines.append('no followers: [label] target can be "likes/views" or "likes"')
        elif "followers" not in has:
            lines.append('no followers or views: [label] target = "likes" is the only one left')
    if "author" not in has:
        lines.append(
            "no author: every post counts as an author of its own, so that pictures of one person "
            "may stand on both sides of a split; say who it was with --set author=NAME"
        )
    if "date" not in has and not classes:
        lines.append(
            "no date: clean drops posts of unknown age; when all are old, say so with "
            "--set date=YYYY-MM-DD"
        )
    if "picture" not in has:
        lines.append("no picture: download and everything after it have nothing to work on")
    return lines
