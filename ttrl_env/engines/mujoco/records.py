"""Names and offsets in MuJoCo's structures. Plain values: this module needs nothing, not even MuJoCo."""

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
    """Where this version of MuJoCo keeps a replica's contacts, in bytes."""

    number: int
    """Offset of the number of contacts in ``mjData``."""
    pointer: int
    """Offset of the pointer to the first contact in ``mjData``."""
    stride: int
    """Size of one contact."""
    geoms: int
    """Offset of the two geom ids in a contact."""


class ModelLayout(NamedTuple):
    """Where this version of MuJoCo keeps what shallow copies of ``mjModel`` replace, in bytes."""

    structure_bytes: int
    """Size of ``mjModel``."""
    size_bytes: int
    """How long ``nexclude`` and ``ntexdata`` are: 4 or 8; ``nbuffer`` has always 8."""
    nbuffer: int
    nexclude: int
    exclude_signature: int
    ntexdata: int
    tex_width: int
    tex_height: int
    tex_adr: int
    tex_data: int
    mesh_facenum: int
