"""Seeded simulation of the application and control layers, in virtual time, on one thread (docs/simulation.md)."""

from pie_core.testing.simulation.drawing import draw_world
from pie_core.testing.simulation.installed import Installed, load_installed
from pie_core.testing.simulation.simulate import Finding, simulate
from pie_core.testing.simulation.world import Client, Visit, World

__all__ = ["Client", "Finding", "Installed", "Visit", "World", "draw_world", "load_installed", "simulate"]
