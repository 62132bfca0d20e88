"""One training step: replayed as a CUDA graph where that can be captured, or run as it is."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from optimizers import Optimizers
from packing import IGNORED
from supply import Batch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

WARM = 3  # steps of a shape that are run before it is captured


@dataclass
class Inputs:
    """A batch as tensors: pixels, places, then what `Rows` has, of pictures and of text."""

    tensors: tuple[Tensor, ...]

    @staticmethod
    def of(batch: Batch) -> "Inputs":
        pictures = batch.pictures
        arrays = (pictures.pixels, pictures.places, *_rows(pictures.rows), *_rows(batch.text))
        return Inputs(tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))

    @property
    def shape(self) -> tuple[torch.Size, ...]:
        return tuple(tensor.shape for tensor in self.tensors)

    def pinned(self) -> "Inputs":
        return Inputs(tuple(tensor.pin_memory() for tensor in self.tensors))

    def to(self, device: torch.device) -> "Inputs":
        return Inputs(tuple(tensor.to(device, non_blocking=True) for tensor in self.tensors))

    def copy_(self, other: "Inputs") -> None:
        for mine, theirs in zip(self.tensors, other.tensors, strict=True):
            mine.copy_(theirs, non_blocking=True)


def _rows(rows: object) -> tuple[np.ndarray, ...]:
    return tuple(vars(rows).values())


def visible(documents: Tensor, branches: Tensor) -> Tensor:
    """Additive mask [rows, 1, length, length] in bfloat16: causal, within a document, its branch and its branch 0."""
    same = documents[:, :, None] == documents[:, None, :]
    branch = (branches[:, :, None] == branches[:, None, :]) | (branches[:, None, :] == 0)
    allowed = same & branch & torch.ones_like(same[0]).tril()
    mask = torch.zeros(allowed.shape, dtype=torch.bfloat16, device=allowed.device)
    return mask.masked_fill_(~allowed, -1e9)[:, None]


class Loss:
    """Mean cross-entropy of the trained tokens: of rows with pictures, and of rows of text."""

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        self._model = model

    def __call__(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        pixels, places, *rows = inputs.tensors
        return self._of_rows(rows[:5], self._features(pixels), places), self._of_rows(rows[5:])

    def _features(self, pixels: Tensor) -> Tensor:
        """Embeddings of the images: [images, IMAGE_TOKENS, hidden]."""
        scaled = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        features = self._model.get_image_features(pixel_values=scaled, return_dict=True).pooler_output
        return torch.stack(list(features))

    def _of_rows(self, rows: list[Tensor], features: Tensor | None = None, places: Tensor | None = None) -> Tensor:
        tokens, labels, positions, documents, branches = (tensor.long() for tensor in rows)
        embeds: Tensor = self._model.get_input_embeddings()(tokens)  # [rows, length, hidden]
        if features is not None and places is not None:
            flat = embeds.flatten(0, 1).index_copy(0, places.flatten().long(), features.flatten(0, 1).to(embeds.dtype))
            embeds = flat.view_as(embeds)
        output = self._model.model.language_model(
            inputs_embeds=embeds,
            position_ids=positions,
            attention_mask=visible(documents, branches),
            use_cache=False,
        )
        logits = self._model.lm_head(output.last_hidden_state)
        return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


class Stepper:
    """Runs steps on batches. After each, `losses` has those of pictures and of text, on the device."""

    def __init__(self, model: LlavaForConditionalGeneration, optimizers: Optimizers) -> None:
        self._model, self._optimizers, self._loss = model, optimizers, Loss(model)
        self.losses = torch.zeros(2, device=model.device)
        self.captures = model.device.type == "cuda"
        self._stream = torch.cuda.Stream() if self.captures else None
        self._pool = (
            torch.cuda.graph_pool_handle() if self.captures else None
        )  # shared: no graph needs another's values
        self._seen: dict[tuple[torch.Size, ...], int] = {}
        self._graphs: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, Inputs]] = {}
        self._sent: list[tuple[Inputs, torch.cuda.Event]] = []

    def step(self, batch: Batch) -> None:
        inputs = Inputs.of(batch)
        if self._stream is None:
            self._run(inputs)
            return
        inputs = inputs.pinned()
        shape = inputs.shape
        self._seen[shape] = self._seen.get(shape, 0) + 1
        if self.captures and self._seen[shape] > WARM and shape not in self._graphs:
            self._capture(shape, inputs)
        if shape in self._graphs:
            graph, static = self._graphs[shape]
            static.copy_(inputs)
            graph.replay()
        else:
            self._run_beside(inputs.to(self._model.device))
        self._keep(inputs)

    def _run(self, inputs: Inputs) -> None:
        for weight in self._model.parameters():
            weight.grad = None
        with torch.autocast(self._model.device.type, torch.bfloat16):
            pictures, text = self._loss(inputs)
        (pictures + text).backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0, foreach=True)
        self._optimizers.step()
        self.losses.copy_(torch.stack([pictures, text]).detach())

    def _run_beside(self, inputs: Inputs) -> None:
        """On the stream that graphs are captured on, as capture wants it of the steps before."""
        assert self._stream is not None
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._run(inputs)
        torch.cuda.current_stream().wait_stream(self._stream)

    def _capture(self, shape: tuple[torch.Size, ...], inputs: Inputs) -> None:
        static = inputs.to(self._model.device)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                self._run(static)
            self._graphs[shape] = graph, static
        except RuntimeError as error:
            self.captures = False
            print(f"no CUDA graphs, steps are run as they are: {error}", flush=True)

    def _keep(self, inputs: Inputs) -> None:
        """Pinned memory until it was copied, and the host no more than two steps ahead."""
        event = torch.cuda.Event()
        event.record()
        self._sent.append((inputs, event))
        if len(self._sent) > 2:
            self._sent.pop(0)[1].synchronize()
