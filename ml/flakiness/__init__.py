"""Which tests are flaky, how sure that is, and what it costs: from the labels of failures, per (variant, test)."""

from ml.flakiness.assessment import COUNTS, Limits, TestState, assess, count
from ml.flakiness.cost import cost
from ml.flakiness.hints import Hint, HintKind, hints
from ml.flakiness.past import changes

__all__ = ["COUNTS", "Hint", "HintKind", "Limits", "TestState", "assess", "changes", "cost", "count", "hints"]
