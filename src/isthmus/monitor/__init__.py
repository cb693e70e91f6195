"""Watch live vectors and results against a bridge's evidence; looking often costs nothing."""

from isthmus.monitor.drift import Drift
from isthmus.monitor.observations import Observations, read_log, read_store, read_vectors
from isthmus.monitor.page import write_monitor_report
from isthmus.monitor.sequential import MeanTest, Side
from isthmus.monitor.two_sample import Difference, classifier_test, difference, kernel_test
from isthmus.monitor.watch import DEFAULT_BOUNDS, Monitored, TestResult, Watch
from isthmus.monitor.webhook import post

__all__ = [
    "DEFAULT_BOUNDS",
    "Difference",
    "Drift",
    "MeanTest",
    "Monitored",
    "Observations",
    "Side",
    "TestResult",
    "Watch",
    "classifier_test",
    "difference",
    "kernel_test",
    "post",
    "read_log",
    "read_store",
    "read_vectors",
    "write_monitor_report",
]
