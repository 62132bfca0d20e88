"""Policies of pie-core to choose from and to compare the defaults with. Importing it loads none of them."""
