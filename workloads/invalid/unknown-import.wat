;; A command that needs an interface nobody has.
(component
  (import "example:missing/thing" (instance $thing
    (export "do-it" (func))
  ))
  (core module $m
    (import "thing" "do-it" (func $do-it))
    (func (export "run") (result i32) (call $do-it) (i32.const 0))
  )
  (core func $do-it (canon lower (func $thing "do-it")))
  (core instance $i (instantiate $m
    (with "thing" (instance (export "do-it" (func $do-it))))
  ))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exported))
)
