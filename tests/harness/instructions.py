"""What compiled code can be tested with on this processor."""

import pytest

from recognizer import processor
from recognizer.compiled.build import SETS

USABLE = [name for name, (_, needed) in SETS.items() if processor.flags().issuperset(needed)]
needs_instructions = pytest.mark.skipif(not USABLE, reason="this processor has none of the instructions")
EACH_SET = [pytest.param(name, marks=needs_instructions) for name in USABLE or [""]]
