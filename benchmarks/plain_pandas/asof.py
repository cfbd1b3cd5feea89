"""The one join by time: each question with the latest fact known before it."""

import numpy as np
import pandas as pd


def latest_before(queries: pd.DataFrame, facts: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """Each query (``at_us``) with the latest fact (``known_us``) known strictly before it, in the queries' order.

    `facts` are in the order in which facts known at one moment count, the last one winning.
    """
    order = np.argsort(queries["at_us"].to_numpy(), kind="stable")
    found = pd.merge_asof(
        queries.take(order),
        facts.sort_values("known_us", kind="stable"),
        left_on="at_us",
        right_on="known_us",
        by=by,
        direction="backward",
        allow_exact_matches=False,
    )
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return found.take(back).reset_index(drop=True)
