"""Takes the place of the package ``proctor`` while that is found in this folder, by loading the package itself."""

from __future__ import annotations

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - quicker

spec = spec_from_file_location("proctor", f"{_PACKAGE}/__init__.py", submodule_search_locations=[_PACKAGE])
assert spec is not None  # because it is a Python file
assert spec.loader is not None
sys.modules["proctor"] = module_from_spec(spec)  # the import that loads this module returns that one
spec.loader.exec_module(sys.modules["proctor"])
