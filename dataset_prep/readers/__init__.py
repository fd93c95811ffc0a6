"""One file per layout of raw files, named as ``--format`` names it; each declares its LAYOUT beside its reader."""
