"""Hostile components, written as component WAT over the raw imports: no SDK stands between them and the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import wasmtime

from pie_core import Trait
from pie_core.application.wasm.core_package import ERROR
from pie_core.application.wasm.wit import packages
from tests.wasm.conftest import InstanceWat


@dataclass(frozen=True)
class Component:
    """A component whose core module has `core`. `uses`: core signatures of host functions, by interface and name.

    `wasi` are whole imports in WAT, each with the core signatures of its functions.
    """

    core: str
    uses: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    raw: Sequence[tuple[str, str, Mapping[str, str]]] = ()  # name of an import, its items as WAT, core signatures
    pages: int = 1  # of memory

    def wasm(self, traits: Iterable[Trait]) -> bytes:
        """Its bytes, against the WIT of these traits."""
        return bytes(wasmtime.wat2wasm(self.wat(traits)))

    def wat(self, traits: Iterable[Trait]) -> str:
        """Its text."""
        known = {package.path(interface): interface for package in packages(traits) for interface in package.interfaces}
        imports, lowered, wanted = [], [], []
        instances = []
        for path, signatures in self.uses.items():
            interface = next(i for name, i in known.items() if name.partition("@")[0] == path)
            name = next(n for n, i in known.items() if i is interface)
            functions = [f for f in interface.functions if f.name in signatures]
            assert {f.name for f in functions} == set(signatures), (path, signatures)
            instances.append((InstanceWat(name).wat(functions), signatures))
        for name, items, signatures in self.raw:
            instances.append((f'(import "{name}" (instance {items}))', signatures))
        for place, (line, signatures) in enumerate(instances):
            imports.append(line.replace("(instance ", f"(instance $i{place} ", 1))
            if "(type $pollable" in line:
                imports.append(f'(alias export $i{place} "pollable" (type $pollable))')
            for function, signature in signatures.items():
                core = f"$f{len(lowered)}"
                lowered.append(
                    f'(core func {core} (canon lower (func $i{place} "{function}") (memory (core memory $mem "memory"))'
                    f' (realloc (core func $mem "realloc"))))'
                )
                label = function.rpartition("]")[2].replace(".", "-")
                wanted.append((label, core, signature))
        core_imports = "".join(f'(import "host" "{name}" (func ${name} {kind}))\n' for name, _, kind in wanted)
        exports = " ".join(f'(export "{name}" (func {core}))' for name, core, _ in wanted)
        fields = " ".join(f'(field "{name}" {kind.text()})' for name, kind in ERROR.fields)
        return f"""
        (component
          (import "pie:core/types@1.0.0"
            (instance $types (type $e (record {fields})) (export "error" (type (eq $e)))))
          (alias export $types "error" (type $error))
          {chr(10).join(imports)}
          (core module $memory
            (memory (export "memory") {self.pages})
            (global $top (mut i32) (i32.const 32768))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
              (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
              (if (i32.gt_u (i32.add (local.get $at) (local.get 3)) (i32.const 65536))
                (then (local.set $at (i32.const 32768))))
              (global.set $top (i32.add (local.get $at) (local.get 3)))
              (local.get $at)))
          (core instance $mem (instantiate $memory))
          {chr(10).join(lowered)}
          (core module $m
            (import "mem" "memory" (memory 1))
            {core_imports}
            ;; run's answer stands at 0: fine, unless `fail` copies an error (code, message) there
            (func $fail (param $error i32)
              (i32.store8 (i32.const 0) (i32.const 1))
              (memory.copy (i32.const 4) (local.get $error) (i32.const 16)))
            {self.core})
          (core instance $run (instantiate $m
            (with "mem" (instance $mem)) (with "host" (instance {exports}))))
          (func $run (result (result (option string) (error $error)))
            (canon lift (core func $run "run") (memory (core memory $mem "memory"))))
          (export "run" (func $run)))"""
