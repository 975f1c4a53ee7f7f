"""Phantom films: synthetic drawings for real records, so that the demo needs no images."""

from cxr.phantoms.drawing import MARK, draw, encode, is_phantom
from cxr.phantoms.packing import pack, serve
from cxr.phantoms.sampling import choose

__all__ = ["MARK", "choose", "draw", "encode", "is_phantom", "pack", "serve"]
