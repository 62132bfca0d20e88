"""Compiles every kernel for a GPU that need not be there; run by `test_compile.py` without the interpreter.

    python compiling.py 90 80

Prints a line for each kernel: its name, capability, and bytes of shared memory. ptxas comes with Triton's wheel.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from pie_backend_triton.ops import (
    attend,
    attend_one,
    best,
    draw,
    log_sum_exp,
    matvec,
    merge,
    norm,
    query_key_value,
    rotary,
    survey,
    swiglu,
    top,
)
from triton import next_power_of_2
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

STRIDES = ("query_row", "query_head", "key_slot", "value_slot")
OPTIONS = ("num_warps", "num_stages", "maxnreg")
SHARED = {80: 163 << 10, 90: 227 << 10}  # bytes that one program may take


def cases(dtype: str) -> Iterator[tuple[Any, dict[str, str], dict[str, Any], dict[str, Any]]]:
    """Kernel, types of its arguments (int64 pointers are not named), constants, options; as they are launched."""
    data = f"*{dtype}"
    exact = dtype == "fp32"
    kinds = (
        (64, 16, 16, False, False),
        (96, 8, 128, True, False),
        (128, 32, 64, False, True),
        (64, 16, 128, False, False),
        (128, 16, 128, False, False),
    )
    for width, page, height, masked, windowed in kinds[:1] if exact else kinds:  # exact products take long to compile
        shape = attend.shape_of(height, width, exact, masked)
        options = {name: shape.pop(name) for name in OPTIONS if name in shape}
        numbers = {"scale": "fp32"} | dict.fromkeys(("window", *STRIDES[:4]), "i32")
        tensors = dict.fromkeys(("query", "keys", "values", "out"), data) | {
            "parts": "*fp32",
            "part_sums": "*fp32",
            "bounds": "*i32",
        }
        sizes = {
            "HEADS": 32,
            "GROUP": 4,
            "WIDTH": width,
            "LANES": next_power_of_2(width),
            "PAGE": page,
            "HEIGHT": height,
        }
        yield (
            attend.attend_kernel,
            tensors | numbers,
            sizes | shape | {"MASKED": masked, "WINDOWED": windowed, "EXACT": exact, "NEAR": True},
            options,
        )
    for width, page in ((64, 16), (128, 32)):
        sizes = {
            "HEADS": 32,
            "GROUP": 4,
            "WIDTH": width,
            "LANES": width,
            "PAGE": page,
            "HEIGHT": 16,
            "KEYS": 32 if exact else 128,
        }
        numbers = {"scale": "fp32"} | dict.fromkeys(("window", *STRIDES), "i32")
        tensors = dict.fromkeys(("query", "keys", "values", "out"), data) | {"parts": "*fp32", "part_sums": "*fp32"}
        flags = {"WINDOWED": width == 128, "EXACT": exact}
        yield attend_one.attend_one_kernel, tensors | numbers, sizes | flags, {"num_warps": width // 16}
    seeing = {"ROWS": 128, "PAGE": 16, "AT_ONCE": survey.AT_ONCE, "WINDOWED": True}
    yield survey.survey_kernel, {"bounds": "*i32", "window": "i32"}, seeing, {}
    tensors = {"parts": "*fp32", "part_sums": "*fp32", "out": data}
    yield merge.merge_kernel, tensors, {"HEADS": 32, "WIDTH": 96, "LANES": 128}, {"num_warps": 1}
    tensors = dict.fromkeys(("x", "weight", "out"), data)
    yield norm.norm_kernel, tensors | {"width": "i32", "eps": "fp32"}, {"LANES": 2048}, {}
    tensors = dict.fromkeys(("joined", "cos", "sin", "query_norm", "key_norm", "query", "keys", "values"), data)
    yield (
        rotary.rotary_kernel,
        tensors | {"query_eps": "fp32", "key_eps": "fp32", "turn_row": "i32", "key_slot": "i32", "value_slot": "i32"},
        {"HEADS": 32, "KV_HEADS": 8, "WIDTH": 96, "LANES": 128, "AT_ONCE": 8, "NORMED": True},
        {"num_warps": 2},
    )
    yield swiglu.swiglu_kernel, {"joined": data, "out": data, "width": "i32"}, {"LANES": swiglu.LANES}, {}
    for outs, ins, gated in ((2048, 2048, False), (2048, 8192, False), (8192, 2048, True)):
        shape = matvec.shape_of(outs, ins, gated)
        options = {name: shape.pop(name) for name in OPTIONS if name in shape}
        tensors = dict.fromkeys(("weight", "x", "gain", "bias", "other", "out"), data)
        flags = {"NORMED": gated, "BIASED": True, "ADDED": not gated, "GATED": gated}
        yield matvec.matvec_kernel, tensors | {"eps": "fp32"}, shape | {"OUTS": outs, "INS": ins} | flags, options
    shape = query_key_value.shape_of()
    options = {name: shape.pop(name) for name in OPTIONS if name in shape}
    tensors = dict.fromkeys(("weight", "x", "gain", "bias", "cos", "sin", "query", "keys", "values"), data)
    yield (
        query_key_value.query_key_value_kernel,
        tensors | {"eps": "fp32", "key_slot": "i32", "value_slot": "i32"},
        shape | {"INS": 2048, "HEADS": 32, "KV_HEADS": 8, "WIDTH": 64, "BIASED": True},
        options,
    )


def vocabulary() -> Iterator[tuple[Any, dict[str, str], dict[str, Any], dict[str, Any]]]:
    """Kernels over scores, which are float32 whatever the model is."""
    floats = dict.fromkeys(("logits", "best", "sums", "out"), "*fp32")
    sizes = {"vocab": "i32", "blocks": "i32"}
    yield log_sum_exp.block_sum_kernel, floats | sizes, {"BLOCK": log_sum_exp.BLOCK}, {"num_warps": 8}
    yield log_sum_exp.log_sum_kernel, floats | sizes, {"LANES": 32}, {"num_warps": 1}
    for first in (True, False):
        numbers = dict.fromkeys(("width", "blocks", "count", "id_bits"), "i32")
        yield (
            top.keep_kernel,
            {"logits": "*fp32"} | numbers,
            {"FROM_LOGITS": first, "BLOCK": top.BLOCK},
            {"num_warps": 8},
        )
    tensors = {"logits": "*fp32", "scores": "*fp32"}
    yield best.block_best_kernel, tensors | sizes, {"BLOCK": best.BLOCK}, {"num_warps": 8}
    yield best.best_kernel, tensors | {"blocks": "i32"}, {"LANES": 32}, {"num_warps": 1}
    numbers = {"sums": "*fp32", "probs": "*fp32", "count": "i32", "id_bits": "i32"}
    yield top.rank_kernel, numbers, {"LANES": 256, "RANKED": top.RANKED}, {}
    tensors = {"probs": "*fp32"} | dict.fromkeys(("temperature", "top_p", "min_p"), "*fp64")
    yield draw.draw_kernel, tensors | {"width": "i32"}, {"LANES": 256}, {}


def compiled(
    kernel: Any, types: dict[str, str], constants: dict[str, Any], options: dict[str, Any], capability: int
) -> int:
    """Bytes of shared memory of one kernel for one capability."""
    names = kernel.arg_names
    if "FOLLOWS" in names:
        constants = constants | {"FOLLOWS": capability >= 90}
    signature = {name: "constexpr" if name in constants else types.get(name, "*i64") for name in names}
    # as Triton finds tensors and their strides when it launches; without, loads are not pipelined
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(names)
        if signature[name].startswith("*") or name in STRIDES
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    made = compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 4} | options)
    assert made.asm["cubin"]
    return int(made.metadata.shared)


def main() -> None:
    for capability in map(int, sys.argv[1:]):
        for case in [*cases("bf16"), *(cases("fp32") if capability == 90 else ()), *vocabulary()]:
            shared = compiled(*case, capability)
            print(case[0].__name__, capability, shared)
            assert shared <= SHARED[capability], f"{case[0].__name__} takes {shared} bytes of shared memory"


if __name__ == "__main__":
    main()
