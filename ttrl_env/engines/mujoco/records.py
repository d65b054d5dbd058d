"""Types for names and offsets in MuJoCo's structures. This module imports nothing, not even MuJoCo."""

from __future__ import annotations

from typing import NamedTuple

RENDERED = (
    "site_xpos",
    "site_xmat",
    "geom_xpos",
    "geom_xmat",
    "cam_xpos",
    "cam_xmat",
    "light_xpos",
    "light_xdir",
)
"""The arrays of ``mjData`` that an image is rendered from."""


class ContactLayout(NamedTuple):
    """Offsets and sizes, in bytes, of a simulation's contacts in this version of MuJoCo."""

    number: int
    """Offset of the number of contacts in ``mjData``."""
    pointer: int
    """Offset of the pointer to the first contact in ``mjData``."""
    stride: int
    """Size of one contact."""
    geoms: int
    """Offset of the two geom ids in a contact."""


class ModelLayout(NamedTuple):
    """Offsets, in bytes, of the fields of ``mjModel`` that shallow copies replace, in this MuJoCo version."""

    structure_bytes: int
    """Size of ``mjModel``."""
    size_bytes: int
    """Size of ``nexclude`` and ``ntexdata``: 4 or 8. ``nbuffer`` always takes 8."""
    nbuffer: int
    nexclude: int
    exclude_signature: int
    ntexdata: int
    tex_width: int
    tex_height: int
    tex_adr: int
    tex_data: int
    mesh_facenum: int


class PlacementLayout(NamedTuple):
    """Offsets, in bytes, of what a copy of ``mjModel`` with fixtures of its own replaces, in this version."""

    structure_bytes: int
    """Size of ``mjModel``."""
    size_bytes: int
    """Size of ``nexclude``: 4 or 8."""
    nexclude: int
    exclude_signature: int
    body_pos: int
    body_quat: int
