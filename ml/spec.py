"""Value objects that the steps exchange. Frozen; no behaviour beyond reading themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Names a result once the attempts of its run are merged.
MERGED_RESULT = ["run_id", "variant", "test_id"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime.max.replace(tzinfo=UTC)
# Branches (in lower case) that every change ends in, and events that stand for a proposed change.
TRUNKS = ("main", "master", "trunk", "develop")
PULL_REQUESTS = ("pull_request", "pull_request_target", "pr", "merge_request", "merge_request_event")


class Outcome(StrEnum):
    """What one execution of one test ended with."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"


class FailureState(StrEnum):
    """Why a result failed: the code is broken, the test is flaky, what runs it is, or the evidence does not say."""

    REGRESSION = "regression"
    FLAKY = "flaky"
    INFRASTRUCTURE = "infrastructure"
    UNKNOWN = "unknown"


class FailureKind(StrEnum):
    """What the text of a failure speaks of."""

    TIMEOUT = "timeout"
    NETWORK = "network"
    RESOURCE = "resource"
    ASSERTION = "assertion"
    OTHER = "other"


class Status(StrEnum):
    """Outcome of a gate. A number that is missing makes `ERROR`, never `PASS`."""

    PASS = "pass"  # noqa: S105 - the word, not a password
    FAIL = "fail"
    ERROR = "error"


class Decision(StrEnum):
    """What a prediction advises for a test, for a whole run, or for a failure."""

    SELECT = "select"
    SKIP = "skip"
    RISKY = "risky"
    OK = "ok"
    RERUN = "rerun"
    INVESTIGATE = "investigate"


class Objective(StrEnum):
    """What a model is for, which decides how it is fitted, measured and turned into advice.

    RANKING: the order of the tests of a run; measured by how early failures come, decided within a budget.
    PROBABILITY: each row's chance to fail; measured by a proper score, decided at a threshold of the model's own.
    """

    RANKING = "ranking"
    PROBABILITY = "probability"


class Question(StrEnum):
    """When a model is asked about a run: before it, what will happen, or after it, what its failures mean."""

    START = "start"
    FINISH = "finish"


# Variant and test of a row that stands for its whole run.
WHOLE_RUN = "*"
# In place of a project: all projects of the lake as if they were one. Contracts refuse a project of this name.
ALL_PROJECTS = "*"
# Column of a frame that holds drawn runs only: how many results a row stands for, at least 1.
WEIGHT = "weight"
# Columns of a training frame of tests, for reports and for heads of a model: whether the test had failed in an earlier
# run; the label of a failure as known at the moment of the frame, and when it settled (null where it had not).
FAILED_BEFORE, FAILURE_STATE, SETTLED_AT = "failed_before", "failure_state", "settled_at"


@dataclass(frozen=True, slots=True)
class Interval:
    """Half-open span ``[start, end)`` in UTC; None leaves that side open."""

    start: datetime | None = None
    end: datetime | None = None

    def contains(self, moment: datetime) -> bool:
        """Whether `moment` lies in the span."""
        return (self.start is None or moment >= self.start) and (self.end is None or moment < self.end)


@dataclass(frozen=True, slots=True)
class Batch:
    """Payloads that were landed together and go into the lake together.

    `batch_id` is a hash of the content: the same content is the same batch, however often it is fetched.
    `folder` is the batch's folder in the landing area.
    """

    batch_id: str
    source: str
    project: str
    folder: str
    payload_count: int


@dataclass(frozen=True, slots=True)
class Parsed:
    """Rows read from one batch, not yet validated.

    `frames` maps each of `runs`, `test_results`, `changed_files` to a frame with the columns of its contract.
    `refused` has the columns of `rejected_rows` without `batch_id`: payloads and rows the parser could not read.
    """

    frames: Mapping[str, pd.DataFrame]
    refused: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of the lake: the version of each Delta table, named together by one ledger row.

    `data_until` is the latest `known_at` in it (None while the lake is empty).
    """

    snapshot_id: int
    versions: Mapping[str, int]
    data_until: datetime | None


@dataclass(frozen=True, slots=True)
class Check:
    """One number held against one threshold. `measured` None means it could not be computed."""

    name: str
    measured: float | None
    threshold: float | None
    greater_is_better: bool
    passed: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate concluded, with every check, passes too."""

    gate: str
    status: Status
    checks: tuple[Check, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Verdict:
        """Inverse of `to_dict`."""
        return cls(value["gate"], Status(value["status"]), tuple(Check(**check) for check in value["checks"]))


@dataclass(frozen=True, slots=True)
class Split:
    """Four periods in time order, without overlap; each is a span of run starts.

    A run belongs to the period that contains its start. fit: estimators. calibrate: probabilities.
    validate: choice of the candidate. test: judged on, nothing chosen on it.
    """

    fit: Interval
    calibrate: Interval
    validate: Interval
    test: Interval


class RuleKind(StrEnum):
    """How a score may answer to a changed input."""

    SAME = "same"
    NOT_LOWER = "not_lower"
    NOT_HIGHER = "not_higher"


@dataclass(frozen=True, slots=True)
class Rule:
    """A case that any sane model obeys: `change` turns feature rows into the rows to compare with."""

    name: str
    kind: RuleKind
    change: Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True, slots=True)
class Range:
    """What tuning may make of a parameter, both ends included, by its logarithm; whole numbers between whole ends."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model is a declaration: what it predicts, from which features, with which candidates.

    Attributes:
        objective: what the model is for.
        decisions: advice for a row that is chosen (within the budget, or from the threshold on), and for the others.
        contract: Pandera model of the feature frame; grain (project, run_id, variant, test_id), with `WHOLE_RUN` for
            variant and test where a row is a run. `failed` is what is predicted.
        build: makes that frame from an engine with a history, the rows asked for, a context and a number of rows. Rows
            to score come in pieces of whole runs, at least one: a piece may end with the run that reaches that number;
            0 asks for a single one. Rows to learn from are one piece.
        outcomes: run_id, variant, test_id, started_at, failed, duration_s of the runs named in the engine's table
            ``published``: what predictions are held against, as known at the queries' `as_of`; arguments as the first
            three of `build`.
        features: columns that an estimator sees.
        candidates: name -> function of the seed that makes an unfitted estimator.
        baselines: name -> function of the frame. Ranking: its value ranks the tests of a run, highest first.
            Probability: its column or columns become a probability by a logistic curve fitted on earlier runs.
        rules: cases that the consistency gate holds it against.
        primary_metric: per-run measure and view, such as ``apfd_all``, by which the candidate is chosen.
        slices: name -> function of the frame that labels each row; no such group of rows may degrade.
        drift_rows: rows that either period needs for drift to be measured.
        cost: column with the expected duration in seconds, for the cost-aware order; empty if there is none.
        tunable: name of a candidate -> parameter -> what tuning may make of it.
        question: START publishes changes that wait for their results; FINISH the newest runs' rows without an outcome.
    """

    name: str
    objective: Objective
    decisions: tuple[Decision, Decision]
    contract: type[Any]
    build: Callable[..., Iterator[pd.DataFrame]]
    outcomes: Callable[..., pd.DataFrame]
    features: tuple[str, ...]
    candidates: Mapping[str, Callable[[int], Any]]
    baselines: Mapping[str, Callable[[pd.DataFrame], pd.Series | pd.DataFrame]]
    rules: tuple[Rule, ...]
    primary_metric: str
    slices: Mapping[str, Callable[[pd.DataFrame], pd.Series]] = field(default_factory=dict)
    drift_rows: int = 200
    cost: str = ""
    tunable: Mapping[str, Mapping[str, Range]] = field(default_factory=dict)
    question: Question = Question.START


@dataclass(frozen=True, slots=True)
class DriftReport:
    """How far the current period lies from the reference.

    `columns` maps a column to its measured distance; `drifted` names those beyond the threshold.
    """

    model: str
    project: str
    status: str
    share_drifted: float
    threshold: float
    columns: Mapping[str, float]
    drifted: tuple[str, ...]
    reference: Interval
    current: Interval
    html: str = field(default="", repr=False)

    @property
    def is_drift(self) -> bool:
        """Whether the model should be retrained for drift."""
        return self.status == "drift"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A logged model: where it lives and what its bytes must be."""

    model: str
    project: str
    version: str
    mlflow_run_id: str
    artifact_uri: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Measure:
    """A measured number with its 95 % interval; NaN bounds where no interval could be computed."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """What is worth keeping of one candidate or baseline: becomes a child run in MLflow.

    `figures` maps a file name (``ranking.png``) to a matplotlib figure.
    """

    name: str
    is_baseline: bool
    params: Mapping[str, str | float | int]
    metrics: Mapping[str, Measure]
    figures: Mapping[str, Figure] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class DataSet:
    """The rows that a model was trained on, as MLflow lists them: told apart by their digest, kept nowhere.

    `columns` maps a column to its type; `source` says where the rows can be had again; `sizes` are counts.
    """

    name: str
    digest: str
    columns: Mapping[str, str]
    source: Mapping[str, Any]
    sizes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """One retraining: becomes a parent run in MLflow, with a child per candidate and baseline.

    `tags` hold snapshot, feature set, git commit, DAG run link; `chosen` names the candidate that goes to the gates.
    `recipe` is what the same rows and the same model can be made from again, ready for JSON.
    """

    model: str
    project: str
    started_at: datetime
    params: Mapping[str, str | float | int]
    tags: Mapping[str, str]
    candidates: tuple[CandidateRecord, ...]
    chosen: str
    data: DataSet | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoggedTraining:
    """A retraining as MLflow has it: what a `TrainingRecord` left there.

    `status` is MLflow's, ``FINISHED`` for a whole one; `version` is None before that. `digest` is that of the data set,
    empty if none was logged, as `recipe` is. `candidates` have no figures.
    """

    run_id: str
    url: str
    name: str
    status: str
    model: str
    project: str
    chosen: str
    tags: Mapping[str, str]
    digest: str
    recipe: Mapping[str, Any]
    candidates: tuple[CandidateRecord, ...]
    version: ModelVersion | None
