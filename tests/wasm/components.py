"""Small components for tests, from WAT."""

from __future__ import annotations

import wasmtime

TYPES = (
    '(import "pie:core/types@1.0.0" (instance $types'
    ' (type $e (record (field "code" string) (field "message" string))) (export "error" (type (eq $e)))))'
    ' (alias export $types "error" (type $error))'
)


def returns(text: str, imports: str = "") -> bytes:
    """A component that returns a text and does nothing else; `imports` are lines of WAT."""
    raw = "".join(f"\\{byte:02x}" for byte in text.encode())
    size = "".join(f"\\{byte:02x}" for byte in len(text.encode()).to_bytes(4, "little"))
    return bytes(
        wasmtime.wat2wasm(f"""
        (component
          {TYPES} {imports}
          (core module $m
            (memory (export "memory") 1)
            (data (i32.const 64) "\\00\\00\\00\\00\\01\\00\\00\\00\\80\\00\\00\\00{size}")
            (data (i32.const 128) "{raw}")
            (func (export "run") (result i32) (i32.const 64)))
          (core instance $i (instantiate $m))
          (func $run (result (result (option string) (error $error)))
            (canon lift (core func $i "run") (memory (core memory $i "memory"))))
          (export "run" (func $run)))""")
    )
