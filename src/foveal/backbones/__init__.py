"""Trunks: one contract over timm and the papers' own networks, and what is handed over of them."""
