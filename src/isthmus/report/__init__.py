"""Results as pages: self-contained HTML with plots, for people who would rather look than read."""

from isthmus.report.diagnosis import write_diagnosis_report
from isthmus.report.evaluation import write_evaluation_report
from isthmus.report.fit import write_fit_report
from isthmus.report.layers import write_layers_report
from isthmus.report.write import check_report

__all__ = [
    "check_report",
    "write_diagnosis_report",
    "write_evaluation_report",
    "write_fit_report",
    "write_layers_report",
]
