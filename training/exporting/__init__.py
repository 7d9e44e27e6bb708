"""What ``export`` is made of: the joined view, file formats, folders for other tools, the card."""
