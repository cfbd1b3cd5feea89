"""Executions and labels of a test, typed as letters."""

import pandas as pd

STATES = {"f": "flaky", "r": "regression", "i": "infrastructure", "u": "unknown"}
LABELS = ["run_id", "variant", "test_id", "state", "probability", "evidence"]


def history(outcomes: str, test: str = "t", variant: str = "v") -> tuple[pd.DataFrame, pd.DataFrame]:
    """A test's executions: p passed; f flaky, r regression, i infrastructure, u unknown, n failed without a label."""
    names = {"variant": variant, "test_id": test}
    rows = [{"run_id": f"r{at}", **names, "failed": letter != "p"} for at, letter in enumerate(outcomes)]
    found = [
        {"run_id": f"r{at}", **names, "state": STATES[letter], "probability": 0.9, "evidence": "typed"}
        for at, letter in enumerate(outcomes)
        if letter in STATES
    ]
    return pd.DataFrame(rows), pd.DataFrame(found, columns=LABELS)
