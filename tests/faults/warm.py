"""Imported once by the fork server, and nowhere else: what a stage imports late, its forks have already."""

import great_expectations.data_context.types.base  # noqa: F401 - loaded, not used
import jinja2.ext  # noqa: F401 - loaded, not used
import matplotlib.backends.backend_agg
import matplotlib.mathtext  # noqa: F401 - loaded, not used
import mlflow.sklearn  # noqa: F401 - loaded, not used
import pandera.strategies.pandas_strategies  # noqa: F401 - loaded, not used
import pyarrow.dataset
import pyarrow.pandas_compat  # noqa: F401 - loaded, not used

import ml.registry  # noqa: F401 - loaded, not used
from tests.faults import acts, collectors, processes  # noqa: F401 - loaded, not used
