"""``python -m pytest_llm``: the ``pytest-llm`` command, of this interpreter."""

import sys

from pytest_llm.cli import main

sys.exit(main())
