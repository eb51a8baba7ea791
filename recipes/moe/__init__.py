"""A mixture-of-experts transformer trained with FP8 compute and MXFP4 storage and wire (arXiv 2603.02731)."""
