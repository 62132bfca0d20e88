"""A small tool server for agents: a calculator, a look-up and a clock, over HTTP."""
