"""``--llm-calibrate``: how far figures move when nothing that matters changes, and the margins that follow from it."""
