"""Settings that all tests share."""

import os
from pathlib import Path

from hypothesis import settings

# On a build machine the same examples every time: what fails there fails here. At home new ones keep searching.
# Without deadlines: a machine may be busy.
settings.register_profile("searching", deadline=None)
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("searching")
if os.environ.get("CI"):
    settings.load_profile("repeatable")

# What tests keep stays out of the user's cache. A later run finds it there: its keys tell the state of the code.
os.environ["SWAPLIB_CACHE"] = str(Path(__file__).resolve().parent.parent / "build/tests/cache")
