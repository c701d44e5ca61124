"""How corpora lie on disk or in a bucket, one module per layout, each giving the clips that it finds.

A layout is checked from names and counts before any work. What only reading tells, a damaged frame, fails its own
clip and no other.
"""
