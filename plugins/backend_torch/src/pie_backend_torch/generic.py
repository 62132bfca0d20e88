"""Any transformers decoder over the pool: its own modules, our attention.

The model is probed for what each layer keeps, its linear layers are packed, and before it may serve it is compared
with its own stock attention (`selfcheck`): a family is either right or refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog
import torch
from torch import Tensor, nn

from pie_backend_torch import paged
from pie_backend_torch.adapters import Adapters
from pie_backend_torch.checkpoint import Checkpoint
from pie_backend_torch.families import check_family, position_limit
from pie_backend_torch.flash.selfcheck import Asked
from pie_backend_torch.kernels import Attention, Kernels
from pie_backend_torch.memory import ran_out
from pie_backend_torch.packing import adaptable_layers, pack_linears, split_activations
from pie_backend_torch.pool import KvPool, LayerShape
from pie_backend_torch.rows import pad_rows
from pie_backend_torch.selfcheck import Reference, check_against, take_reference
from pie_backend_torch.silence import quiet
from pie_backend_torch.step import Step
from pie_backend_torch.torch_kernels import TorchKernels
from pie_backend_torch.vision.tower import LOCAL
from pie_core.errors import CheckpointError, ConfigError, PieError, UnsupportedError
from pie_core.inference.backend import Progress

log = structlog.get_logger(__name__)


class GenericDecoder:
    """A transformers causal LM with its attention replaced. See `decoder.Decoder`."""

    implementation = "generic"

    def __init__(
        self,
        model: Any,
        layers: tuple[LayerShape, ...],
        dtype: torch.dtype,
        device: torch.device,
        attention: Attention,
    ) -> None:
        text = model.config.get_text_config()
        self.vocab_size, self.hidden_size = int(text.vocab_size), int(text.hidden_size)
        self.max_position = position_limit(model.config)
        self.layers = layers
        self.kernels: Kernels = TorchKernels(attention)
        self.dtype, self.device = dtype, device
        base = getattr(model, model.base_model_prefix)
        self.seeing = base if hasattr(base, "get_image_features") else None
        self._table = model.get_input_embeddings()
        self._decoder = decoder_of(model)
        self._head = model
        setattr(model, model.base_model_prefix, _GivenStates())

    def embed(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self._table(ids)
        return vectors.to(self.dtype)

    def hidden(self, x: Tensor, step: Step, pool: KvPool) -> Tensor:
        out = self._decoder(
            inputs_embeds=pad_rows(x)[None],
            position_ids=_rotary_positions(step),
            use_cache=False,
            pie=paged.over_pool(step, pool),
        )
        states: Tensor = out.last_hidden_state[0, : x.shape[0]]
        return states.to(self.dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._head(inputs_embeds=pad_rows(hidden)[None], use_cache=False).logits[0]
        return logits[: hidden.shape[0]].float()


def _rotary_positions(step: Step) -> Tensor:
    """[1, rows], or [axes, 1, rows] where there are several."""
    if step.axes is None:
        return pad_rows(step.positions)[None]
    return pad_rows(step.axes).t()[:, None]


class _GivenStates(nn.Module):
    """Takes the decoder's place in the causal LM and returns what it is given.

    So the model's own code turns hidden states into scores, whatever it does to them (scales, soft caps).
    """

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> Any:
        return _States(inputs_embeds)


class _States(tuple[Tensor]):
    """A decoder's output of which only the last hidden state is there; other fields, of router scores say, are None."""

    def __new__(cls, states: Tensor) -> _States:
        return super().__new__(cls, (states,))

    def __getattr__(self, name: str) -> Tensor | None:
        return self[0] if name == "last_hidden_state" else None


def decoder_of(model: Any) -> Any:
    """The part of a causal LM that ends with the final norm."""
    decoder = model.get_decoder()
    return model.base_model if decoder is model else decoder


def load_generic(
    checkpoint: Checkpoint,
    dtype: torch.dtype,
    device: torch.device,
    adapters: Adapters,
    progress: Progress,
    choose: Callable[[Sequence[Asked]], Attention],
) -> GenericDecoder:
    """Read a checkpoint by transformers. Raises `CheckpointError`, `UnsupportedError`, and what `choose` raises.

    choose: the attention for layers that ask for this.
    """
    where = str(checkpoint.path)
    with quiet():
        model = _read_model(checkpoint, dtype, progress)
        model = model.to(device).eval()
    progress("check", None)
    try:
        paged.register()
        layers, asked, called = _probe(model, device)
        adapters.check(adaptable_layers(model, called))
        packed = pack_linears(model, called)
        if device.type == "cpu":
            split_activations(model, called)
        reference = take_reference(model, decoder_of(model), device)
        adapters.on_modules(model)
        decoder = _decoder(model, layers, dtype, device, choose(asked), reference)
    except (CheckpointError, ConfigError):
        raise
    except PieError as error:
        raise UnsupportedError(f"{where}: a {model.config.model_type} model cannot be served: {error}") from error
    log.info("model.checked", family=model.config.model_type, layers=len(layers), packed=packed)
    return decoder


def _decoder(
    model: Any,
    layers: tuple[LayerShape, ...],
    dtype: torch.dtype,
    device: torch.device,
    attention: Attention,
    reference: Reference,
) -> GenericDecoder:
    decoder_of(model).set_attn_implementation(paged.NAME)  # towers keep theirs
    decoder = GenericDecoder(model, layers, dtype, device, attention)
    check_against(reference, decoder)
    return decoder


def check_config(checkpoint: Checkpoint) -> Any:
    """The config of transformers. Raises `UnsupportedError` where it tells that the model cannot be served."""
    from transformers import AutoConfig

    where = str(checkpoint.path)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(where, **LOCAL)
    except Exception as error:  # whatever transformers' config classes raise
        raise UnsupportedError(f"{where}: transformers cannot read config.json ({_first_line(error)})") from error
    check_family(config, where)
    return config


def _read_model(checkpoint: Checkpoint, dtype: torch.dtype, progress: Progress) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    where, config = str(checkpoint.path), check_config(checkpoint)
    progress("weights", None)
    try:
        sees = hasattr(config, "vision_config")
        # typed as if there were no report
        load: Any = (AutoModelForImageTextToText if sees else AutoModelForCausalLM).from_pretrained
        model, report = load(
            where, config=config, dtype=dtype, attn_implementation="eager", output_loading_info=True, **LOCAL
        )
    except Exception as error:  # transformers raises anything here
        if ran_out(error):
            raise
        kind = UnsupportedError if "Unrecognized configuration class" in str(error) else CheckpointError
        raise kind(f"{where}: transformers cannot load this model ({_first_line(error)})") from error
    _check_report(report, where)
    return model


def _check_report(report: dict[str, Any], where: str) -> None:
    words = {"missing_keys": "lack", "unexpected_keys": "also have", "mismatched_keys": "misshape"}
    found = {word: sorted(map(str, report.get(key) or ())) for key, word in words.items()}
    problems = [f"{word} {names[0]} ({len(names)} in all)" for word, names in found.items() if names]
    if problems:
        raise CheckpointError(
            f"{where}: the weights do not fit config.json: they {', '.join(problems)}; "
            "use config and weights of the same model"
        )


def _probe(model: Any, device: torch.device) -> tuple[tuple[LayerShape, ...], list[Asked], dict[nn.Module, int]]:
    """What every layer keeps and asks for, and which modules are called, with how many rows; by running a token."""
    recorder = paged.Recorder()
    called: dict[nn.Module, int] = {}

    def count(module: nn.Module, given: tuple[Any, ...], _: Any) -> None:
        x = given[0] if given and isinstance(given[0], Tensor) else None
        called[module] = called.get(module, 0) + (0 if x is None else x.shape[:-1].numel())

    decoder = decoder_of(model)
    stock = decoder.config._attn_implementation
    decoder.set_attn_implementation(paged.NAME)
    hooks = [module.register_forward_hook(count) for module in model.modules()]
    try:
        ids = torch.zeros(1, 1, dtype=torch.int64, device=device)
        decoder(inputs_embeds=model.get_input_embeddings()(ids), position_ids=ids, use_cache=False, pie=recorder)
    except (TypeError, AttributeError, RuntimeError, ValueError) as error:
        if ran_out(error):
            raise
        raise UnsupportedError(f"its decoder does not run on Embeds alone ({_first_line(error)})") from error
    finally:
        for hook in hooks:
            hook.remove()
        decoder.set_attn_implementation(stock)
    head = model.get_output_embeddings()
    if head is not None:
        called[head] = 0  # the scores' pass is no forward pass
    return _layers(recorder, int(model.config.get_text_config().num_hidden_layers)), recorder.asked, called


def _layers(recorder: paged.Recorder, count: int) -> tuple[LayerShape, ...]:
    if not recorder.shapes:
        raise UnsupportedError("its attention does not go through transformers' AttentionInterface")
    missing = sorted(set(range(count)) - recorder.shapes.keys())
    if missing:
        raise UnsupportedError(f"layer {missing[0]} ({len(missing)} in all) has no attention over keys and values")
    return tuple(recorder.shapes[index] for index in range(max(recorder.shapes) + 1))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:300]
