"""Posts and accounts as Mastodon writes them: JSON bytes, put together from prepared pieces.

A page of forty posts is about 60 kB; building it from dictionaries would cost the server more
than everything else, so each entity is one f-string and accounts are kept once written.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable

from infra.sandbox.world import SIZES, TAGS, Hidden, Kind, Visibility, World

__all__ = ["SYNTHETIC", "Dialect"]

SYNTHETIC = "synthetic world"
KEEP = 20_000
"""Entities that are kept once written."""

# Looking an enumeration's member up costs as much as the rest of a line: plain numbers here.
_ABSENT, _NULL, _VIDEO = int(Hidden.ABSENT), int(Hidden.NULL), int(Kind.VIDEO)
_VISIBILITY = tuple(level.name.lower() for level in Visibility)

_SUBJECTS = ("A morning", "An evening", "A walk", "A face", "Someone", "A smile", "Old friends")
_PLACES = ("by the river", "in town", "at home", "in the light", "on the way", "after the rain")


class Dialect:
    """Writes the entities of a world as seen at ``base_url``."""

    def __init__(self, world: World, base_url: str) -> None:
        self.world = world
        self.base_url = base_url
        self._accounts: dict[int, bytes] = {}
        self._posts: dict[int, bytes] = {}
        self._masks: dict[int, str] = {}
        self._tag_lists: dict[int, str] = {}

    def account(self, index: int) -> bytes:
        """An Account entity."""
        known = self._accounts.get(index)
        if known is None:
            known = self._write_account(index)
            if len(self._accounts) < KEEP:
                self._accounts[index] = known
        return known

    def post(self, index: int) -> bytes:
        """A Status entity."""
        known = self._posts.get(index)
        if known is None:
            known = self._write_post(index)
            if len(self._posts) < KEEP:
                self._posts[index] = known
        return known

    def accounts(self, indices: Iterable[int]) -> bytes:
        """A list of Account entities."""
        return b"[" + b",".join([self.account(i) for i in indices]) + b"]"

    def posts(self, indices: Iterable[int]) -> bytes:
        """A list of Status entities."""
        return b"[" + b",".join([self.post(i) for i in indices]) + b"]"

    def forget_post(self, index: int) -> None:
        """Write this post anew next time: its counts have changed."""
        self._posts.pop(index, None)

    # -- accounts -------------------------------------------------------------------------

    def _write_account(self, index: int) -> bytes:
        who = self.world.account(index)
        url = f"{self.base_url}/@{who.username}"
        note = f"<p>Nobody real: a person of a {SYNTHETIC}."
        if who.nobot:
            note += (
                f' <a href="{self.base_url}/tags/nobot" class="mention hashtag" rel="tag">'
                "#<span>nobot</span></a>"
            )
        return (
            f'{{"id":"{who.id}","username":"{who.username}","acct":"{who.username}",'
            f'"display_name":"Person {index} ({SYNTHETIC})","locked":false,'
            f'"bot":{_bool(who.bot)},"discoverable":true,"indexable":{_bool(who.indexable)},'
            f'"group":false,"created_at":"{_time(who.created_ms)[:10]}T00:00:00.000Z",'
            f'"note":{json.dumps(note + "</p>")},"url":"{url}","uri":"{url}",'
            f'"avatar":"{self.base_url}/avatar.png","avatar_static":"{self.base_url}/avatar.png",'
            f'"followers_count":{who.followers},"following_count":{who.following},'
            f'"statuses_count":{who.posts},"noindex":{_bool(who.noindex)},'
            f'"emojis":[],"roles":[],"fields":[]}}'
        ).encode()

    # -- posts ----------------------------------------------------------------------------

    def _write_post(self, index: int) -> bytes:
        world = self.world
        number = int(world.post_id[index])
        author = int(world.author[index])
        url = f"{self.base_url}/@person{author:05d}/{number}"
        mask = int(world.tags[index])
        visibility = _VISIBILITY[world.visibility[index]]
        head = (
            f'{{"id":"{number}","created_at":"{_time(int(world.created_ms[index]))}",'
            f'"in_reply_to_id":null,"in_reply_to_account_id":null,'
            f'"sensitive":{_bool(bool(world.sensitive[index]))},"spoiler_text":"",'
            f'"visibility":"{visibility}","language":"en","uri":"{url}","url":"{url}",'
            f'"replies_count":{world.replies[index]},"reblogs_count":{world.reblogs[index]},'
            f'{self._likes(index)}"edited_at":null,"content":{self._text(index, mask)},'
            f'"reblog":null,"media_attachments":[{self._media(index)}],"mentions":[],'
            f'"tags":{self._tags(mask)},"emojis":[],"card":null,"poll":null,"account":'
        )
        return head.encode() + self.account(author) + b"}"

    def _likes(self, index: int) -> str:
        hidden = int(self.world.hidden[index])
        if hidden == _ABSENT:
            return ""
        count = "null" if hidden == _NULL else str(int(self.world.likes[index]))
        return f'"favourites_count":{count},'

    def _text(self, index: int, mask: int) -> str:
        subject, place = _SUBJECTS[index % 7], _PLACES[index // 7 % 6]
        return f'"<p>{subject} {place} ({SYNTHETIC}). {self._links(mask)}</p>"'

    def _links(self, mask: int) -> str:
        """Links to the tags of a mask, escaped for JSON; there are few masks, so they are kept."""
        known = self._masks.get(mask)
        if known is None:
            links = " ".join(
                f'<a href="{self.base_url}/tags/{tag}" class="mention hashtag" rel="tag">'
                f"#<span>{tag}</span></a>"
                for tag in _tags_of(mask)
            )
            known = self._masks[mask] = json.dumps(links, ensure_ascii=False)[1:-1]
        return known

    def _tags(self, mask: int) -> str:
        known = self._tag_lists.get(mask)
        if known is None:
            tags = [{"name": tag, "url": f"{self.base_url}/tags/{tag}"} for tag in _tags_of(mask)]
            known = self._tag_lists[mask] = json.dumps(tags, ensure_ascii=False)
        return known

    def _media(self, index: int) -> str:
        world = self.world
        count = int(world.n_media[index])
        if not count:
            return ""
        kind = "video" if int(world.kind[index]) == _VIDEO else "image"
        end = "mp4" if kind == "video" else "png" if world.is_png(index) else "jpg"
        number = int(world.post_id[index])
        width, height = SIZES[world.size[index]]
        return ",".join(
            f'{{"id":"{number + k + 1}","type":"{kind}",'
            f'"url":"{self.base_url}/media/{number}-{k}.{end}",'
            f'"preview_url":"{self.base_url}/media/{number}-{k}-small.{end}","remote_url":null,'
            f'"meta":{{"original":{{"width":{width},"height":{height},'
            f'"size":"{width}x{height}","aspect":{width / height:.6g}}}}},'
            f'"description":"A picture of a {SYNTHETIC}","blurhash":null}}'
            for k in range(count)
        )


def _tags_of(mask: int) -> list[str]:
    return [tag for bit, tag in enumerate(TAGS) if mask >> bit & 1]


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _time(ms: int) -> str:
    at = dt.datetime.fromtimestamp(ms // 1000, dt.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"
