"""Makes pico's own training code importable: training goes on from its weights, with its corpus and packing."""

import sys
from pathlib import Path

PICO = Path(__file__).parents[2] / "model_pico"
PICO_TRAINING = PICO / "training"
PICO_CHECKPOINT = PICO / "src" / "pie_model_pico" / "checkpoint"

if str(PICO_TRAINING) not in sys.path:  # behind our own folder, which has a train.py and an evaluate.py, too
    sys.path.append(str(PICO_TRAINING))
