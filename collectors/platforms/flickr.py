"""Flickr: photos by tag or account, with faves and views.

Flickr's interface has no follower counts, so likes / views is the ratio to label by. Favourites
come with the pages by an extra that Flickr's documentation does not name (``count_faves``); photos
without it are asked one by one by the documented way (``photos.getFavorites``). Sources:
flickr.com/services/api (photos.search, people.getPublicPhotos, photos.getInfo, photos.getFavorites,
error codes) and recorded answers. Calls go as signed POST forms: no key stands in an address.
"""

# ruff: noqa: ARG002 - not every adapter needs every argument of the interface
from __future__ import annotations

import datetime as dt
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import ClassVar

from defusedxml import ElementTree as SafeXML

from collectors.budgets.buckets import BucketSpec
from collectors.platforms import fields, licences
from collectors.platforms.base import (
    RAW_CONTROLS,
    Answer,
    Chain,
    Outcome,
    Page,
    Platform,
    Request,
    Signature,
    Verdict,
)
from collectors.platforms.records import Author, Licence, Media, Oddities, Post
from collectors.tokens.oauth import Flow, OAuth1Flow, Question
from collectors.tokens.store import Token, new_token
from likewise.config import Source

__all__ = ["Flickr"]

PER_PAGE = 500
MOST_OF_A_QUERY = 4000
"""Flickr repeats its results after this many; what follows is asked by an earlier upload date."""
RANKED_PAGE = 100
"""Results of a search by relevance come a hundred at a time: most searches need no more pages."""

_LICENCES = {
    "1": ("by-nc-sa", "2.0"),
    "2": ("by-nc", "2.0"),
    "3": ("by-nc-nd", "2.0"),
    "4": ("by", "2.0"),
    "5": ("by-sa", "2.0"),
    "6": ("by-nd", "2.0"),
    "9": ("cc0", "1.0"),
    "10": ("pdm", "1.0"),
}
"""Flickr's numbers, as they stood for years; ``photos.licenses.getInfo`` tells the newer ones."""

_EXTRAS = (
    "date_upload,owner_name,license,media,url_l,url_c,url_o,count_faves,count_views,"
    "count_comments,tags,description"
)
_LOGIN = {"95", "96", "97", "98", "99", "100", "108"}
_PASSING = {"0", "10", "105", "106", "201"}
_GONE = ("not found", "deleted", "private", "invalid nsid", "unknown user", "permission denied")
_SIZES = (("url_o", "o"), ("url_l", "l"), ("url_c", "c"), ("url_m", "m"))


class Flickr(Platform):
    """www.flickr.com; ``host = "api.flickr.com"``."""

    name = "flickr"
    usual_host = "https://api.flickr.com"
    requires_token = True
    results_per_page = RANKED_PAGE
    counts_per_call = 1
    counted = frozenset({"comments", "views", "licence"})
    most_likes_calls = 3600
    """An hour of the key's budget."""
    environment: ClassVar = {"LIKEWISE_FLICKR_KEY": "api_key"}

    def __init__(self, source: Source) -> None:
        wanted = licences.checked(source.licences)
        super().__init__(source.model_copy(update={"licences": wanted}))
        self.licences = dict(_LICENCES)
        self._unasked = bool(self.source.keywords)

    def probe(self) -> Request | None:
        return _call("flickr.photos.licenses.getInfo") if self._unasked else None

    def learn(self, answer: Answer) -> None:
        """Which number stands for which licence."""
        self._unasked = False
        if answer.body is not None:
            for node in answer.body.iter("license"):
                found = licences.of_url(node.get("url"))
                if found is not None:
                    self.licences[node.get("id", "")] = found

    def plan(self, lo: int | None, hi: int) -> list[Chain]:
        chains = [Chain("account", name, lo, hi) for name in self.source.accounts]
        chains += [Chain("tag", tag, lo, hi) for tag in self.source.tags]
        return chains + self.plan_searches(MOST_OF_A_QUERY)

    def start(self, account: str) -> str | None:
        return f"{account}|/1"

    def page(self, chain: Chain, cursor: str | None) -> Request:
        """A cursor is ``LATEST/PAGE``: latest upload date in seconds, and page from 1."""
        if chain.kind == "search":
            return self._search(chain, cursor)
        latest, _, number = (cursor or "/1").rpartition("/")
        nsid = None
        if chain.kind == "account":
            nsid, _, latest = latest.partition("|")
            nsid = nsid or (chain.value if "@" in chain.value else None)
            if nsid is None:
                return _call("flickr.people.findByUsername", username=chain.value)
        bounds = {}
        if chain.lo is not None:
            bounds["min_upload_date"] = str(chain.lo // 1_000_000)
        until = latest or (str(chain.hi // 1_000_000) if chain.hi is not None else "")
        if until:
            bounds["max_upload_date"] = until
        who = {"user_id": nsid} if nsid else {"tags": chain.value}
        return _call(
            "flickr.photos.search", **who, **bounds, sort="date-posted-desc", media="photos",
            safe_search="1", extras=_EXTRAS, per_page=str(PER_PAGE), page=number,
        )  # fmt: skip

    def _search(self, chain: Chain, cursor: str | None) -> Request:
        """Results by relevance; a cursor is the page, from 1."""
        wanted = [i for i, (code, _) in self.licences.items() if code in self.source.licences]
        return _call(
            "flickr.photos.search", text=self.searches[chain.value],
            license=",".join(sorted(wanted, key=int)), sort="relevance", media="photos",
            content_types="0", safe_search="1", extras=_EXTRAS, per_page=str(RANKED_PAGE),
            page=str(self.number_of(chain, cursor)),
        )  # fmt: skip

    def _read_search(self, chain: Chain, cursor: str | None, answer: Answer) -> Page:
        page = Page()
        number = self.number_of(chain, cursor)
        keyword = self.searches[chain.value]
        for rank, photo in enumerate(answer.body.iter("photo"), (number - 1) * RANKED_PAGE):
            if not chain.covers(rank):
                continue
            before = len(page.posts)
            read_photo(photo, page, known=self.licences)
            for post in page.posts[before:]:
                self._judged(post, page, keyword, rank)
        listing = answer.body.find("photos")
        told = None if listing is None else listing.get("pages")
        pages = fields.count(told, "pages", page.oddities) or 0
        further = chain.hi is None or number * RANKED_PAGE < chain.hi
        if further and number < pages and number * RANKED_PAGE < MOST_OF_A_QUERY:
            page.cursor = str(number + 1)
        return page

    def _judged(self, post: Post, page: Page, keyword: str, rank: int) -> None:
        """Give a search result its class and place, or drop it: its licence was not asked for."""
        if post.licence is None or post.licence.code not in self.source.licences:
            page.posts.remove(post)
            page.dropped["other_licence"] += 1
            return
        post.licence.rank = rank
        post.labels = [*post.labels, f"class:{keyword}"]

    def read_page(self, chain: Chain, cursor: str | None, answer: Answer) -> Page:
        if chain.kind == "search":
            return self._read_search(chain, cursor, answer)
        page = Page()
        root = answer.body
        user = root.find("user")
        if user is not None:
            page.account = fields.identifier(user.get("nsid") or user.get("id"))
            page.cursor = None if page.account is None else self.start(page.account)
            return page
        read_photos(root, page, self.licences)
        listing = next((node for node in root if node.get("pages") is not None), None)
        if listing is None:
            return page
        latest, _, number = (cursor or "/1").rpartition("/")
        who, bar, until = latest.rpartition("|")
        page.account = who or None
        if not until and number == "1":
            page.total = fields.count(listing.get("total"), "total", page.oddities)
        count = fields.count(listing.get("pages"), "pages", page.oddities) or 0
        at = int(number)
        per_page = fields.count(listing.get("perpage"), "perpage", page.oddities) or PER_PAGE
        if at >= count:
            return page
        if (at + 1) * per_page <= MOST_OF_A_QUERY:
            page.cursor = f"{latest}/{at + 1}"
            return page
        oldest = min((p.created_at for p in page.posts if p.created_at), default=None)
        if oldest is None:
            page.lost["no_dates"] = "no photo of the last page has a date to go on from"
            return page
        second = oldest // 1_000_000
        if until and second >= int(until):
            # All 4000 results are of one second: what else is of it, no query can reach.
            page.lost["4000_in_one_second"] = (
                f"more than {MOST_OF_A_QUERY} photos were uploaded in the second "
                f"{dt.datetime.fromtimestamp(second, dt.UTC):%Y-%m-%d %H:%M:%S} UTC: "
                "Flickr shows no more of them"
            )
            second = int(until) - 1
        page.cursor = f"{who}{bar}{second}/1"
        return page

    # -- counts ---------------------------------------------------------------------------

    def counts(self, ids: Sequence[str]) -> Request:
        return _call("flickr.photos.getInfo", photo_id=ids[0])

    def read_counts(self, ids: Sequence[str], answer: Answer) -> Page:
        page = Page()
        read_photos(answer.body, page, self.licences)
        for post in page.posts if self.source.keywords else ():
            if post.licence is None or post.licence.code not in self.source.licences:
                post.flags |= {"other_licence"}
        return page

    def likes(self, post_id: str) -> Request:
        return _call("flickr.photos.getFavorites", photo_id=post_id, per_page="1")

    def read_likes(self, answer: Answer) -> int | None:
        photo = answer.body.find("photo")
        return None if photo is None else fields.count(photo.get("total"), "likes", Oddities())

    # -- limits, tokens, errors -----------------------------------------------------------

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        """3600 an hour for the application's key, over all its users."""
        key = "none" if token is None else token.app or token.id
        return [BucketSpec(f"{self.host}/key/{key}", 3600, 3600.0)]

    def sign(self, request: Request, token: Token | None) -> Signature:
        """OAuth 1.0a in a header; with nothing but a key, the key as a form field."""
        if token is None:
            return {}, ()
        secret = token.secret
        if "api_secret" not in secret or "oauth_token" not in secret:
            return {}, (("api_key", secret.get("api_key", "")),)
        from oauthlib.oauth1 import Client

        form = {"Content-Type": "application/x-www-form-urlencoded"}
        signer = Client(
            secret["api_key"],
            client_secret=secret["api_secret"],
            resource_owner_key=secret["oauth_token"],
            resource_owner_secret=secret.get("oauth_token_secret", ""),
        )
        _, headers, _ = signer.sign(self.base + request.path, "POST", list(request.data), form)
        return {"Authorization": headers["Authorization"]}, ()

    grants = (
        "The permission shows your private photos and contacts too. It cannot upload, delete or "
        "change anything."
    )
    left_to_do = (
        "Flickr has no way to be told: end the permission yourself at "
        "flickr.com/services/auth/list.gne."
    )
    questions = (
        Question("api_key", "Key of your Flickr application"),
        Question("api_secret", "Its secret", hidden=True),
    )

    def login(self, answers: Mapping[str, str], redirect_uri: str) -> Flow:
        site = self.base.replace("//api.", "//www.")
        return OAuth1Flow(
            f"{site}/services/oauth/request_token",
            f"{site}/services/oauth/authorize?perms=read",
            f"{site}/services/oauth/access_token",
            answers["api_key"],
            answers["api_secret"],
            self._whose,
        )

    def _whose(self, secret: Mapping[str, str]) -> Token:
        names = ("api_key", "api_secret", "oauth_token", "oauth_token_secret")
        kept = {name: secret[name] for name in names}
        user = str(secret.get("user_nsid", ""))
        return new_token(self.name, self.host, kept, user=user, app=secret["api_key"])

    def decode(self, status: int, headers: Mapping[str, str], raw: bytes) -> Answer:
        """Flickr's own format is XML; anything else is a page of some proxy."""
        if not raw.strip():
            return Answer(status, headers, problem="empty_body")
        try:
            try:
                answer = Answer(status, headers, parse(raw))
            except ET.ParseError:
                mended = _mended(raw)
                answer = Answer(status, headers, mended, repaired="raw_control_characters")
            error = answer.body.find("err")
            answer.detail = "" if error is None else fields.plain(error.get("msg")) or ""
            return answer
        except (ET.ParseError, ValueError, LookupError):
            problem = "html" if "html" in headers.get("content-type", "") else "broken_xml"
            return Answer(status, headers, problem=problem)

    def own_error(self, answer: Answer) -> bool:
        """Flickr's own errors come with status 200; every other 404 is somebody else's."""
        return False

    def judge(self, answer: Answer) -> Verdict:
        root = answer.body
        if answer.status == 200 and root is not None and root.tag == "rsp":
            return OK if root.get("stat") == "ok" else self._judge_failure(root)
        verdict = super().judge(answer)
        if verdict.outcome is Outcome.OK:
            return Verdict(Outcome.RETRY, "not_flickr")
        return verdict

    @staticmethod
    def _judge_failure(root: ET.Element) -> Verdict:
        error = root.find("err")
        code = "" if error is None else error.get("code", "")
        text = "" if error is None else error.get("msg", "").lower()
        if code in _PASSING:
            return Verdict(Outcome.RETRY, f"flickr_{code}")
        if code in _LOGIN:
            return Verdict(Outcome.TOKEN, f"flickr_{code}")
        if any(word in text for word in _GONE):
            return Verdict(Outcome.GONE, f"flickr_{code}")
        return Verdict(Outcome.REFUSED, f"flickr_{code}")


OK = Verdict(Outcome.OK)


def _call(method: str, **params: str) -> Request:
    data = (("method", method), *sorted(params.items()))
    return Request("/services/rest/", method="POST", data=data)


def parse(raw: bytes | str) -> ET.Element:
    """An XML answer. Documents that declare types or entities are refused: Flickr sends none.

    Raises:
        ValueError: the document has a declaration, in whatever encoding.
        ET.ParseError: it is not well-formed.
    """
    root: ET.Element = SafeXML.fromstring(raw, forbid_dtd=True)
    return root


def _mended(raw: bytes) -> ET.Element:
    """As ``parse``, without the control characters that XML allows in no form."""
    text = RAW_CONTROLS.sub("", raw.decode("utf-8", "replace"))
    return parse(_REFERENCE.sub(_unless_control, text))


_REFERENCE = re.compile(r"&#(?:(\d{1,7})|[xX]([0-9a-fA-F]{1,6}));")


def _unless_control(found: re.Match[str]) -> str:
    number = int(found[1]) if found[1] else int(found[2], 16)
    return "" if number < 32 and number not in {9, 10, 13} else found[0]


def read_photos(
    root: ET.Element, page: Page, known: Mapping[str, tuple[str, str]] = _LICENCES
) -> None:
    """Append every photo of an answer, of a list or by itself, and its owner."""
    if root.find("sizes") is not None:
        return
    owner = next((node.get("owner") for node in root if node.get("owner")), None)
    for photo in root.iter("photo"):
        read_photo(photo, page, owner, known=known)


def read_photo(
    photo: ET.Element,
    page: Page,
    album_owner: str | None = None,
    *,
    known: Mapping[str, tuple[str, str]] = _LICENCES,
) -> None:
    """Append one photo as a post, or count why it cannot be one."""
    odd = page.oddities
    post_id = fields.identifier(photo.get("id"))
    author = _owner(photo, album_owner)
    if post_id is None or author is None:
        page.dropped["malformed"] += 1
        return
    page.authors.append(author)
    shown = photo.find("visibility")
    public = photo.get("ispublic", "1" if shown is None else shown.get("ispublic", "1"))
    views = photo.get("count_views", photo.get("views"))
    comments = photo.get("count_comments") or photo.findtext("comments")
    posted = photo.find("dates")
    uploaded = photo.get("dateupload", photo.get("dateuploaded"))
    if uploaded is None and posted is not None:
        uploaded = posted.get("posted")
    safety = fields.count(photo.get("safety_level"), "safety_level", odd)
    page.posts.append(
        Post(
            post_id=post_id,
            author_id=author.author_id,
            url=f"https://www.flickr.com/photos/{author.author_id}/{post_id}",
            created_at=fields.moment(uploaded, "created_at", odd),
            likes=fields.count(photo.get("count_faves"), "likes", odd),
            comments=fields.count(comments, "comments", odd),
            views=fields.count(views, "views", odd),
            tags=_tags(photo),
            text=_text(photo, odd),
            visibility="public" if public == "1" else "private",
            sensitive=None if safety is None else safety > 0,
            labels=[f"license:{photo.get('license')}"] if photo.get("license") else [],
            media=_media(photo),
            flags=frozenset() if public == "1" else frozenset({"not_public"}),
            licence=_licence(photo, author, known),
        )
    )


def _owner(photo: ET.Element, album_owner: str | None) -> Author | None:
    node = photo.find("owner")
    if node is not None:
        author_id, handle = fields.identifier(node.get("nsid")), node.get("username")
    else:
        author_id, handle = (
            fields.identifier(photo.get("owner") or album_owner),
            photo.get("ownername"),
        )
    return None if author_id is None else Author(author_id, handle=fields.plain(handle))


def _licence(
    photo: ET.Element, author: Author, known: Mapping[str, tuple[str, str]]
) -> Licence | None:
    """The open licence of a photo; None where its number stands for none."""
    found = known.get(photo.get("license", ""))
    if found is None:
        return None
    code, version = found
    return Licence(
        code=code,
        version=version,
        url=licences.url_of(code, version),
        title=fields.plain(photo.get("title") or photo.findtext("title")),
        creator=author.handle,
        creator_url=f"https://www.flickr.com/people/{author.author_id}/",
        source="flickr",
    )


def read_person(root: ET.Element) -> Author | None:
    """The author in an answer of people.getInfo; None when there is none."""
    person = root.find("person")
    author_id = None if person is None else fields.identifier(person.get("nsid"))
    if person is None or author_id is None:
        return None
    total = person.findtext("photos/count")
    odd = Oddities()
    return Author(
        author_id=author_id,
        handle=fields.plain(person.findtext("username")),
        posts_count=fields.count(total, "posts_count", odd),
        source="account",
    )


def _tags(photo: ET.Element) -> list[str]:
    nodes = photo.findall("tags/tag")
    names = [node.text for node in nodes] if nodes else photo.get("tags", "").split()
    return list(dict.fromkeys(plain.lower() for name in names if (plain := fields.plain(name))))


def _text(photo: ET.Element, odd: Oddities) -> str | None:
    title = photo.get("title") or photo.findtext("title")
    description = fields.strip_html(photo.findtext("description"), odd)
    parts = (fields.plain(title, odd), description)
    return "\n".join(part for part in parts if part) or None


def _media(photo: ET.Element) -> list[Media]:
    found = [(photo.get(name), size) for name, size in _SIZES if photo.get(name)]
    kind = {"photo": "image", "video": "video"}.get(photo.get("media", "photo"), "other")
    if not found:
        return [_constructed(photo, kind)] if photo.get("server") and photo.get("secret") else []
    url, size = found[0]
    return [
        Media(
            index=0,
            kind=kind,
            url=fields.url(url),
            preview_url=fields.url(found[-1][0]),
            width=fields.side(photo.get(f"width_{size}")),
            height=fields.side(photo.get(f"height_{size}")),
        )
    ]


def _constructed(photo: ET.Element, kind: str) -> Media:
    """The address of the 1024-pixel copy, as flickr.com/services/api/misc.urls.html builds it."""
    name = f"{photo.get('id')}_{photo.get('secret')}_b.jpg"
    return Media(0, kind, fields.url(f"https://live.staticflickr.com/{photo.get('server')}/{name}"))
