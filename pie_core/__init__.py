"""pie-core: serve programs, not prompts. What a plugin author needs; importing it loads no backend and no model."""

from pie_core.command import UNFINISHED, Call, Command, ControlCall, Planned, Query, Reads, Writes
from pie_core.control.batching import Backlog
from pie_core.control.contention import ContentionPolicy
from pie_core.control.dispatch import DispatchPolicy
from pie_core.control.policy import PolicySpec
from pie_core.control.space import Space
from pie_core.errors import (
    ArgumentError,
    AuthenticationError,
    BusyError,
    CapabilityError,
    CheckpointError,
    ConfigError,
    DeclarationError,
    DeviceError,
    HandleError,
    NetworkError,
    PieError,
    PluginError,
    ProgramError,
    ProtocolError,
    ResourceError,
    TerminatedError,
    TraitError,
    UnsupportedError,
)
from pie_core.hookspecs import hookimpl
from pie_core.inference.backend import ANY, Backend, BackendSpec, Foundation, HandlerSpec, Progress, Swapper
from pie_core.model import ModelInfo, ModelSpec
from pie_core.resource import Embed, HostResource, KvPage, Resource
from pie_core.schema import S32, U32, U64, F32Array, Handles, Mask, U32Array
from pie_core.trait import Trait
from pie_core.version import API_VERSION, __version__

__all__ = [
    "ANY",
    "API_VERSION",
    "S32",
    "U32",
    "U64",
    "UNFINISHED",
    "ArgumentError",
    "AuthenticationError",
    "Backend",
    "BackendSpec",
    "Backlog",
    "BusyError",
    "Call",
    "CapabilityError",
    "CheckpointError",
    "Command",
    "ConfigError",
    "ContentionPolicy",
    "ControlCall",
    "DeclarationError",
    "DeviceError",
    "DispatchPolicy",
    "Embed",
    "F32Array",
    "Foundation",
    "HandleError",
    "HandlerSpec",
    "Handles",
    "HostResource",
    "KvPage",
    "Mask",
    "ModelInfo",
    "ModelSpec",
    "NetworkError",
    "PieError",
    "Planned",
    "PluginError",
    "PolicySpec",
    "ProgramError",
    "Progress",
    "ProtocolError",
    "Query",
    "Reads",
    "Resource",
    "ResourceError",
    "Space",
    "Swapper",
    "TerminatedError",
    "Trait",
    "TraitError",
    "U32Array",
    "UnsupportedError",
    "Writes",
    "__version__",
    "hookimpl",
]
