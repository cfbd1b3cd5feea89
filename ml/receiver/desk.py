"""What both ways of pushing have in common: whom to let in, how much to take, and how it lands."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.receiver.body import Bounds
from ml.receiver.gate import Gate
from ml.receiver.reception import Reception
from ml.warehouse import PushToken

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """Takes pushes. `scratch` is a folder for half of one."""

    gate: Gate
    reception: Reception
    bounds: Bounds
    scratch: Path

    def land(self, folder: Path, reports: Sequence[str], token: PushToken) -> tuple[int, dict[str, Any]]:
        """Land the run in `folder`; status of HTTP, and what is told of the run.

        Raises:
            RefusedRequest: the run is refused as a whole.
        """
        is_new, told = self.reception.accept(folder, reports, token.project)
        LOG.info("token %s pushed batch %s of %s", token.name, told["batch_id"], token.project)
        return 201 if is_new else 200, told
