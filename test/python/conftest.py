"""Tests compile into a cache of their own."""

import os
import tempfile

os.environ["VERNIER_CACHE_DIR"] = os.path.join(tempfile.mkdtemp(prefix="vernier-test-"), "cache")
