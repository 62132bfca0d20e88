"""The sandboxed tier: inferlets as WebAssembly components, run by wasmtime inside the server."""
