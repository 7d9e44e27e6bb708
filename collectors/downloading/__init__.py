"""From a kept post to a picture on disk: plan, turns of hosts, fetch, inspection, folding.

Nothing here knows a platform; every address passes ``guard``.
"""
