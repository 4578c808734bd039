"""Tables of what each documented answer of the cloud means for a detach, with the source of each row."""

from shared.cloud.answers import bms, ecs, evs, gateway, http, iam, nova
from shared.cloud.answers.row import Row

TABLE: tuple[Row, ...] = (*bms.ROWS, *ecs.ROWS, *evs.ROWS, *gateway.ROWS, *iam.ROWS, *nova.ROWS, *http.ROWS)

__all__ = ["TABLE", "Row"]
