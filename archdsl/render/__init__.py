"""Renders diagnostics for people and for programs."""

from archdsl.render.records import concise, record, where
from archdsl.render.report import coloured_report, place, report
from archdsl.render.visible import visible

__all__ = ["coloured_report", "concise", "place", "record", "report", "visible", "where"]
