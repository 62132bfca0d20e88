"""One module for each technique, found by its being here; it offers `TECHNIQUES` (see `techniques/form.py`)."""
