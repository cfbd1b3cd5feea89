"""Can Fourgate work here? Findings by subject, with the command that mends each; what is broken stops nothing else."""

from collections.abc import Callable, Iterator

from ml.stages.diagnosis import machine, services
from ml.stages.diagnosis.finding import Finding, Health, Patient

__all__ = ["Finding", "Health", "Patient", "examine"]

FIRST = "the settings come first"
Look = Callable[[Patient], Iterator[Finding]]
MACHINE: dict[str, Look] = {
    "settings": machine.settings,
    "python": machine.python,
    "packages": machine.packages,
    "home": machine.home,
    "disk": machine.disk,
    "ports": machine.ports,
}
# looked at only where the settings can be read: they say where the services are
SERVICES: dict[str, Look] = {
    "database": services.database,
    "clock": services.clock,
    "mlflow": services.mlflow,
    "airflow": services.airflow,
    "receiver": services.receiver,
    "lake": services.lake,
    "aliases": services.aliases,
}
SUBJECTS = MACHINE | SERVICES


def examine(patient: Patient) -> Iterator[Finding]:
    """Findings on every subject, one after the other as they are made; never raises for what is broken."""
    for subject, look in SUBJECTS.items():
        if patient.problem and subject in SERVICES:
            yield Finding(subject, Health.SKIPPED, FIRST)
            continue
        try:
            yield from look(patient)
        except Exception as error:  # noqa: BLE001 - whatever is broken is a finding, and the next subject is looked at
            told = f"{type(error).__name__}: {error}".strip()
            yield Finding(subject, Health.WRONG, told, "see the message; `fourgate down`, then `fourgate up`")
