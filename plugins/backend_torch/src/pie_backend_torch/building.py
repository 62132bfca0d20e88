"""What another package builds a backend of: the public part of this one, with `kernels`, `options` and `plugin`."""

from pie_backend_torch.ahead.drawing import LISTED, How, uniform
from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.lean_config import LeanConfig
from pie_backend_torch.linear import Linear
from pie_backend_torch.load import load_backend
from pie_backend_torch.pool import KvPool, LayerShape
from pie_backend_torch.step import Ints, Span, Step, build_step
from pie_backend_torch.torch_kernels import TorchKernels

__all__ = [
    "LISTED",
    "How",
    "Ints",
    "KvPool",
    "LayerShape",
    "LeanConfig",
    "Linear",
    "Span",
    "Step",
    "TorchBackend",
    "TorchKernels",
    "build_step",
    "load_backend",
    "uniform",
]
