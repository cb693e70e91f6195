"""Results as pages: self-contained HTML with plots, for people who would rather look than read."""

from isthmus.report.diagnosis import write_diagnosis_report
from isthmus.report.write import check_report

__all__ = ["check_report", "write_diagnosis_report"]
