;; A core module with `_start` that imports a function of no known module, as Emscripten's do.
(module
  (import "env" "foo" (func $foo))
  (memory (export "memory") 1)
  (func (export "_start") (call $foo))
)
