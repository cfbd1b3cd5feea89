"""Every entry of docs/troubleshooting.md, provoked for real; keyed by the anchor of its heading."""

from tests.docs.errors import collecting, models, servers, settings

CASES = settings.CASES | servers.CASES | collecting.CASES | models.CASES
