"""Settings that all tests share."""

import os

from hypothesis import settings

# On a build machine the same examples every time: what fails there fails here. At home new ones keep searching.
settings.register_profile("repeatable", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("repeatable")
