"""A C extension for the component's CPython, written in WebAssembly's text form: it makes objects immortal.

CPython counts references inside the objects, so a running program would write to every page with an object that it
merely looks at, and each of those pages would stop being shared with all other instances. Objects whose count is
beyond a threshold are immortal (PEP 683): they are not counted any more. Python itself has no way to ask for it. Used
by `inferlet_guest.heap` on what is in the snapshot, which no instance could give back anyway.
"""

from __future__ import annotations

from pathlib import Path

import wasmtime

MODULE = "inferlet_immortal"  # has one function, `make_immortal(object)`, which gives back the object
SUFFIX = ".cpython-314-wasm32-wasi.so"  # of extensions, in the CPython of componentize-py

# Of CPython 3.14 on 32 bits: an object begins with its count, and is immortal from 1 << 30; 5 << 28 is what CPython
# itself sets. The first section tells the linker of 160 bytes of data, aligned to 16, and of one place in the table of
# functions. The data: the names of module and function (at 32), the PyMethodDef (at 64), the PyModuleDef (at 96).
_NAME = MODULE + r"\00" * (32 - len(MODULE))
_WAT = rf"""
(module
  (@custom "dylink.0" (before first) "\01\05\a0\01\04\01\00")
  (import "env" "memory" (memory 0))
  (import "env" "__indirect_function_table" (table 1 funcref))
  (import "env" "__memory_base" (global $data i32))
  (import "env" "__table_base" (global $table i32))
  (import "env" "PyModuleDef_Init" (func $define (param i32) (result i32)))
  (data (global.get $data) "{_NAME}make_immortal")
  (elem (global.get $table) $make_immortal)
  (func $make_immortal (param $module i32) (param $object i32) (result i32)
    (if (i32.lt_u (i32.load (local.get $object)) (i32.const 0x40000000))
      (then (i32.store (local.get $object) (i32.const 0x50000000))))
    (local.get $object))
  (func (export "PyInit_{MODULE}") (result i32)
    (i32.store offset=64 (global.get $data) (i32.add (global.get $data) (i32.const 32))) ;; ml_name
    (i32.store offset=68 (global.get $data) (global.get $table)) ;; ml_meth
    (i32.store offset=72 (global.get $data) (i32.const 8)) ;; ml_flags: METH_O
    (i32.store offset=116 (global.get $data) (global.get $data)) ;; m_name
    (i32.store offset=128 (global.get $data) (i32.add (global.get $data) (i32.const 64))) ;; m_methods
    (call $define (i32.add (global.get $data) (i32.const 96)))))
"""


def write(directory: Path) -> None:
    """Put the extension among the modules that go into a component."""
    (directory / f"{MODULE}{SUFFIX}").write_bytes(wasmtime.wat2wasm(_WAT))
