"""Model files that are safe to load: the promoted bytes and nothing but known types (skops, no pickle).

MLflow reads the trusted types from the model's own folder, so whoever can change the model can change
what is trusted. Here the allow-list belongs to the product and the expected SHA-256 to the caller, who
keeps it in another place (the champion's row in PostgreSQL).
"""

import hashlib
import hmac
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import skops.io

from ml.errors import ArtifactRefused

MODEL_FILE = "model.skops"

# Every type that may appear anywhere in a model file. skops would also accept all scikit-learn estimators
# and numpy functions; the list names only what the candidates of ml/models are made of, so that a new kind
# of model is a decision that somebody reviews. The tree types index arrays without bounds checks:
# they are safe only together with the checksum.
ALLOWED_TYPES = (
    "builtins.dict",
    "builtins.list",
    "builtins.slice",
    "builtins.str",
    "builtins.tuple",
    "ml.training.calibration.LogOdds",
    "ml.training.heads.TwoHeads",
    "ml.training.leaning.Heuristic",
    "ml.training.leaning.Level",
    "ml.training.leaning.Pool",
    "ml.training.ranker.Ranker",
    "numpy.bool",
    "numpy.dtype",
    "numpy.float32",
    "numpy.float64",
    "numpy.int32",
    "numpy.int64",
    "numpy.ndarray",
    "numpy.random._generator.Generator",
    "numpy.random.mtrand.RandomState",
    "numpy.uint32",
    "numpy.uint64",
    "numpy.uint8",
    "sklearn._loss._loss.CyHalfBinomialLoss",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn.calibration.CalibratedClassifierCV",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.compose._column_transformer.ColumnTransformer",
    "sklearn.ensemble._forest.RandomForestClassifier",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.ensemble._voting.VotingClassifier",
    "sklearn.frozen._frozen.FrozenEstimator",
    "sklearn.impute._base.MissingIndicator",
    "sklearn.impute._base.SimpleImputer",
    "sklearn.isotonic.IsotonicRegression",
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing._data.QuantileTransformer",
    "sklearn.preprocessing._data.RobustScaler",
    "sklearn.preprocessing._data.StandardScaler",
    "sklearn.preprocessing._label.LabelEncoder",
    "sklearn.tree._classes.DecisionTreeClassifier",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
)

# How skops rebuilds a value. Left out on purpose: functions, methods, operators, partials, reduce by name.
ALLOWED_LOADERS = frozenset(
    {
        "DTypeNode",
        "DictNode",
        "JsonNode",
        "ListNode",
        "LossNode",
        "NdArrayNode",
        "ObjectNode",
        "RandomGeneratorNode",
        "RandomStateNode",
        "SliceNode",
        "TreeNode",
        "TupleNode",
        "TypeNode",
    }
)
_SHOWN = 5


def sha256(data: bytes) -> str:
    """SHA-256 of a model file, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def dump(estimator: Any) -> bytes:
    """Write an estimator as a skops file.

    Raises:
        ArtifactRefused: it holds a type or a construct that `load` would refuse.
    """
    data: bytes = skops.io.dumps(estimator)
    check_content(data)
    return data


def load(data: bytes, expected_sha256: str) -> Any:
    """Rebuild the estimator in a model file.

    Args:
        data: content of the skops file.
        expected_sha256: digest recorded when the model was logged, kept apart from the file.

    Returns:
        The fitted estimator.

    Raises:
        ArtifactRefused: the digest differs, the file is no skops file, or it holds a type or a construct that
            is not on the allow-list. Nothing of a refused file is executed.
    """
    found = sha256(data)
    if not hmac.compare_digest(found, expected_sha256):
        raise ArtifactRefused(
            f"the model file is not the recorded one: its SHA-256 is {found}, recorded is {expected_sha256 or 'none'}"
        )
    check_content(data)
    try:
        return skops.io.loads(data, trusted=list(ALLOWED_TYPES))
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise ArtifactRefused(f"the model file names allowed types only, but cannot be rebuilt: {error}") from error


def check_content(data: bytes) -> None:
    """Refuse a model file that holds anything but arrays and allowed types.

    Raises:
        ArtifactRefused: names the types, constructs or files that are not allowed.
    """
    schema = _read_schema(data)
    foreign, constructs = set(), set()
    for node in _nodes(schema):
        if node.get("__loader__") not in ALLOWED_LOADERS:
            constructs.add(str(node.get("__loader__")))
        name = f"{node.get('__module__')}.{node.get('__class__')}"
        if name not in ALLOWED_TYPES:
            foreign.add(name)
    if foreign or constructs:
        raise ArtifactRefused(
            f"the model file holds what the product does not allow: types {_some(foreign)}, constructs "
            f"{_some(constructs)}; a new kind of model needs an entry in ml/artifact.py"
        )


def _read_schema(data: bytes) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            others = {name for name in archive.namelist() if name != "schema.json" and not name.endswith(".npy")}
            schema = json.loads(archive.read("schema.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError) as error:
        raise ArtifactRefused(f"the model file is not a skops file: {error}") from error
    if others:
        raise ArtifactRefused(f"the model file holds {_some(others)}; only schema.json and arrays (.npy) are allowed")
    if not isinstance(schema, dict):
        raise ArtifactRefused("the model file is not a skops file: schema.json is not an object")
    return schema


def _nodes(root: Any) -> Iterator[dict[str, Any]]:
    """Every described value in a skops schema, without recursion: a hostile file may be deep."""
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "__class__" in value or "__loader__" in value:
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _some(names: set[str]) -> str:
    shown = [name[:200] for name in sorted(names)[:_SHOWN]]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(shown) or "none") + more
