"""Bluesky's own servers on this machine, for tests of the Bluesky collector.

``python -m infra.atproto COMMAND ...`` installs what is missing into ``.atproto/``, starts the
servers, runs the command and stops the servers. ``make test-atproto`` is that with pytest.
"""
