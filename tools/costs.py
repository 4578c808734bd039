"""What a million detaches cost: invocations as the simulator counts them, times list prices."""

from dataclasses import dataclass

MEMORY_GB = 0.25
BILLED_SECONDS = 0.15
"""An invocation's share, generously: four calls to a cloud that answers in 30 ms each."""

USD_PER_GB_SECOND = 1.33334e-5
USD_PER_INVOCATION = 0.20e-6
USD_PER_QUEUE_REQUEST = 0.40e-6
USD_PER_EVENT = 1.00e-6
"""List prices of arm64 Lambda, SQS standard queues and EventBridge in us-east-1, November 2026."""


@dataclass(frozen=True, slots=True)
class Detach:
    """One detach, alone in its batch: how long the cloud took, and how often it was looked at."""

    seconds: int
    invocations: int

    @property
    def usd_per_million(self) -> float:
        """Each look is an invocation, and a message that is sent, received and deleted; one event at the end."""
        look = USD_PER_INVOCATION + BILLED_SECONDS * MEMORY_GB * USD_PER_GB_SECOND + 3 * USD_PER_QUEUE_REQUEST
        return 1e6 * (self.invocations * look + USD_PER_EVENT)

    @property
    def row(self) -> str:
        return f"| {self.seconds} s | {self.invocations} | {self.usd_per_million:.0f} |"
