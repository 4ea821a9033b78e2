"""``python -m proctor``."""

import sys

from proctor.child import forget_working_directory

forget_working_directory()  # before anything else is imported

from proctor.cli import main  # noqa: E402

sys.exit(main())
