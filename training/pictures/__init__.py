"""Plain facts about pictures: thumbnails, colours, contents."""
