"""Which pictures may stay, where a study does not say otherwise. Pixels, and levels of 255."""

MIN_SIDE = 224
"""The networks' input: smaller pictures would be enlarged."""

MAX_ASPECT = 4.0
"""Long side over short; a longer strip loses most of itself in a square crop."""

MAX_PIXELS = 80_000_000
"""What a decoder is asked to hold: 240 MB of RGB."""

MIN_CONTRAST = 3.0
"""Standard deviation below which a picture is one colour to the eye."""
