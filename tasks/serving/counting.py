"""The numbers of a server, as Prometheus reads them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
INPUTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

__all__ = ["CONTENT_TYPE_LATEST", "Counts"]


class Counts:
    """The numbers of one server; a process may have several."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        self.requests = Counter("graftline_requests", "Requests to /invocations", ["status"], registry=own)
        self.seconds = Histogram(
            "graftline_request_seconds", "From a request's coming to its answer", buckets=SECONDS, registry=own
        )
        self.rows = Counter("graftline_rows", "Inputs that were answered", ["version"], registry=own)
        self.batch = Histogram(
            "graftline_batch_inputs", "Inputs that the model was asked at once", buckets=INPUTS, registry=own
        )
        self.now = Gauge("graftline_requests_now", "Requests that wait or are being answered", registry=own)
        self.version = Gauge("graftline_version", "The version that answers", registry=own)
        self.switches = Counter("graftline_switches", "Versions that took over from another", registry=own)
        self.refused = Counter(
            "graftline_refused_versions", "Versions that the alias named and that did not start", registry=own
        )
        self.restarts = Counter(
            "graftline_restarts", "Times that the model's process had to be started again", registry=own
        )
        self.logged = Counter("graftline_logged_rows", "Rows written to the log of requests", registry=own)
        self.lost = Counter("graftline_lost_rows", "Answered rows that the log could not take", registry=own)

    def page(self) -> bytes:
        return generate_latest(self._registry)
