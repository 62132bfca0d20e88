"""What other packages build backends and handlers of: the public part, with `kernels`, `options` and `plugin`."""

from pie_backend_torch.ahead.drawing import How, listing
from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.handlers.forward import run_pass
from pie_backend_torch.lean_config import LeanConfig
from pie_backend_torch.linear import Linear, PlainLinear
from pie_backend_torch.load import load_backend
from pie_backend_torch.pool import KvPool, LayerShape
from pie_backend_torch.step import Ints, Span, Step, build_step, live_slots, ranges
from pie_backend_torch.torch_kernels import TorchKernels

__all__ = [
    "How",
    "Ints",
    "KvPool",
    "LayerShape",
    "LeanConfig",
    "Linear",
    "PlainLinear",
    "Span",
    "Step",
    "TorchBackend",
    "TorchKernels",
    "build_step",
    "listing",
    "live_slots",
    "load_backend",
    "ranges",
    "run_pass",
]
