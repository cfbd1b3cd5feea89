"""Which runs a bounded training frame holds, and how many results each of its rows stands for.

Facts are taken from every result; only the rows that are asked for are fewer. Whole runs are drawn, so that every
ranking is complete. Runs with a failure that are no outage come first: a ranking learns from them and is judged by
them. The other runs tell how rare failures are, so a part of the room is theirs. Within either kind every run has the
same chance, and each row weighs as many results as it stands for (the ratio estimator of stratified sampling: Cochran,
"Sampling Techniques", 1977, chapter 6): with the weights, rates and costs are those of all runs.

The draw is by a hash of the run's name: the same on every engine, and nearly the same the next night. Taking every
n-th run instead would meet the same board, or the same hour, each time.
"""

import hashlib

import pandas as pd
import pyarrow as pa

TELLING_SHARE = 0.75


def drawn_runs(runs: pd.DataFrame, max_rows: int) -> pa.Table | None:
    """Runs for at most `max_rows` rows; one run is taken of each kind however large it is.

    Args:
        runs: run_no, run_id, results (how many rows it would be), is_telling (a failure, and no outage).
        max_rows: the bound; 0 for none.

    Returns:
        run_no, weight (results of all runs of that kind per result drawn, at least 1); None where all runs fit.
    """
    if not max_rows or runs["results"].sum() <= max_rows:
        return None
    telling = runs["is_telling"].to_numpy(bool)
    others = int(runs.loc[~telling, "results"].sum())
    first = _drawn(runs.loc[telling], max(TELLING_SHARE * max_rows, max_rows - others))
    rest = _drawn(runs.loc[~telling], max_rows - first["results"].sum())
    found = pd.concat([first, rest])
    columns = {"run_no": pa.array(found["run_no"], pa.int32()), "weight": pa.array(found["weight"], pa.float64())}
    return pa.table(columns)


def _drawn(runs: pd.DataFrame, room: float) -> pd.DataFrame:
    lots = runs["run_id"].map(lambda name: hashlib.sha256(name.encode()).hexdigest())
    ordered = runs.assign(lot=lots).sort_values("lot")
    count = max(1, int((ordered["results"].cumsum() <= room).sum()))
    kept = ordered.head(count)
    return kept.assign(weight=runs["results"].sum() / max(1, kept["results"].sum()))
