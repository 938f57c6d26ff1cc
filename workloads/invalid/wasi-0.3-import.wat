;; A command that needs an interface of WASI 0.3.
(component
  (import "wasi:clocks/monotonic-clock@0.3.0" (instance $clock
    (export "now" (func (result u64)))
  ))
  (core module $m
    (import "clock" "now" (func $now (result i64)))
    (func (export "run") (result i32) (drop (call $now)) (i32.const 0))
  )
  (core func $now (canon lower (func $clock "now")))
  (core instance $i (instantiate $m
    (with "clock" (instance (export "now" (func $now))))
  ))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exported))
)
