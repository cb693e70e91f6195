"""Watch live vectors and results against a bridge's evidence; looking often costs nothing."""

from isthmus.monitor.drift import Drift
from isthmus.monitor.monitored import Monitored, TestResult
from isthmus.monitor.observations import (
    Observations,
    read_log,
    read_store,
    read_traffic,
    read_vectors,
)
from isthmus.monitor.page import write_monitor_report
from isthmus.monitor.retrieval import CanaryQueries, Retrieval, ask
from isthmus.monitor.sequential import Direction, MeanTest
from isthmus.monitor.two_sample import SampleDifference, classifier_test, difference, kernel_test
from isthmus.monitor.watch import DEFAULT_BOUNDS, Watch
from isthmus.monitor.webhook import check_webhook, post

__all__ = [
    "DEFAULT_BOUNDS",
    "CanaryQueries",
    "Direction",
    "Drift",
    "MeanTest",
    "Monitored",
    "Observations",
    "Retrieval",
    "SampleDifference",
    "TestResult",
    "Watch",
    "ask",
    "check_webhook",
    "classifier_test",
    "difference",
    "kernel_test",
    "post",
    "read_log",
    "read_store",
    "read_traffic",
    "read_vectors",
    "write_monitor_report",
]
