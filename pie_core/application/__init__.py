"""APPLICATION LAYER: programs, their lives, their messages and limits. Tiers run them; everything else is shared."""
