"""What a project gets for Vivado and Vitis: folders `vivado` and `vitis` beside rtl and hls."""

from __future__ import annotations

from dataclasses import replace

from hwmoe.codegen.project import Project
from hwmoe.vendor.families import ALVEO, families
from hwmoe.vendor.vitis import vitis_files
from hwmoe.vendor.vivado import vivado_files


def with_vendor_files(project: Project) -> Project:
    """The project with the files of the vendor's tools. A family that is neither a Zynq nor a
    card gets HLS alone: how its memory is reached is not known."""
    files = vitis_files(project)
    if project.board.family == ALVEO or project.board.family in families():
        files |= vivado_files(project)
    return replace(project, files={**project.files, **files})
