"""Model files are loaded only when they are the recorded bytes and hold known types only."""

import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, QuantileTransformer, StandardScaler

from ml import artifact
from ml.errors import ArtifactRefused

X = np.random.default_rng(7).normal(size=(300, 3))
Y = X[:, 0] + 0.3 * X[:, 1] > 0


def _candidates() -> dict[str, Any]:
    return {
        "logistic": make_pipeline(
            SimpleImputer(add_indicator=True), StandardScaler(), LogisticRegression(class_weight="balanced")
        ),
        "forest": RandomForestClassifier(5, random_state=np.random.RandomState(3)),
        "boosting": HistGradientBoostingClassifier(max_iter=5, random_state=3),
        "blend": make_pipeline(
            QuantileTransformer(n_quantiles=50, output_distribution="normal", random_state=3),
            VotingClassifier(
                [("linear", LogisticRegression()), ("forest", RandomForestClassifier(5, random_state=3))],
                voting="soft",
                weights=(0.6, 0.4),
            ),
        ),
    }


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("name", ["logistic", "forest", "boosting", "blend"])
def test_every_candidate_comes_back_with_the_same_scores(name: str, method: str) -> None:
    model = CalibratedClassifierCV(FrozenEstimator(_candidates()[name].fit(X, Y)), method=method).fit(X, Y)
    data = artifact.dump(model)
    loaded = artifact.load(data, artifact.sha256(data))
    np.testing.assert_allclose(loaded.predict_proba(X), model.predict_proba(X), atol=1e-12)


def _logistic() -> bytes:
    data: bytes = skops.io.dumps(LogisticRegression().fit(X, Y))
    return data


def test_the_digest_is_the_published_sha256_of_the_bytes() -> None:
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # pragma: allowlist secret
    assert artifact.sha256(b"abc") == known


@pytest.mark.parametrize("position", [0, 100, -1])
def test_one_changed_byte_is_refused_with_both_digests(position: int) -> None:
    data = _logistic()
    changed = bytearray(data)
    changed[position] ^= 1
    with pytest.raises(ArtifactRefused) as refusal:
        artifact.load(bytes(changed), artifact.sha256(data))
    assert artifact.sha256(data) in str(refusal.value)
    assert artifact.sha256(bytes(changed)) in str(refusal.value)


def test_a_model_without_a_recorded_digest_is_refused() -> None:
    with pytest.raises(ArtifactRefused, match="recorded is none"):
        artifact.load(_logistic(), "")


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (DummyClassifier(), "sklearn.dummy.DummyClassifier"),
        (FunctionTransformer(np.tanh), "numpy.tanh"),
    ],
)
def test_a_type_outside_the_list_is_refused_by_name_though_skops_trusts_it(model: Any, named: str) -> None:
    data = skops.io.dumps(model)
    assert skops.io.get_untrusted_types(data=data) == []
    with pytest.raises(ArtifactRefused, match=named):
        artifact.load(data, artifact.sha256(data))


def test_a_model_that_could_not_be_loaded_is_refused_when_it_is_written() -> None:
    with pytest.raises(ArtifactRefused, match=r"sklearn\.dummy\.DummyClassifier"):
        artifact.dump(DummyClassifier())


def test_a_construct_that_calls_a_function_by_name_is_refused() -> None:
    data = _with_schema({"__class__": "str", "__module__": "builtins", "__loader__": "FunctionNode", "content": "x"})
    with pytest.raises(ArtifactRefused, match="constructs FunctionNode"):
        artifact.load(data, artifact.sha256(data))


@pytest.mark.parametrize("data", [b"", b"\x80\x04\x95not a zip", b"PK\x05\x06" + bytes(18)])
def test_a_pickle_or_an_empty_archive_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactRefused, match="not a skops file"):
        artifact.load(data, artifact.sha256(data))


def test_an_extra_file_in_the_archive_is_refused() -> None:
    content = io.BytesIO(_logistic())
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("model.pkl", b"\x80\x04.")
    with pytest.raises(ArtifactRefused, match=r"model\.pkl"):
        artifact.load(content.getvalue(), artifact.sha256(content.getvalue()))


def test_allowed_types_with_nonsense_inside_are_refused_not_crashed() -> None:
    data = _with_schema(
        {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "type": "numpy", "file": "no.npy"}
    )
    with pytest.raises(ArtifactRefused, match="cannot be rebuilt"):
        artifact.load(data, artifact.sha256(data))


def _with_schema(schema: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("schema.json", json.dumps({**schema, "protocol": skops.io._protocol.PROTOCOL}))
    return content.getvalue()
