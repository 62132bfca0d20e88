"""CONTROL LAYER: queues, address spaces, batching, dispatch, contention.

Pure Python and device-free. Clock, scheduler, policies and device are arguments, so that the same inputs make the
same decisions and the whole layer can be simulated. Everything here runs on one thread, the control thread.
"""
