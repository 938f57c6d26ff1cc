//! Command tasks: input, output, arguments, exit codes, traps.

use bytes::Bytes;
use vyr_core::artifact::Manifest;
use vyr_core::limits::ShardLimits;
use vyr_core::problem::Code;
use vyr_core::task::Status;
use vyr_shard::{Pipe, PipeEnd, rt};

use crate::support::*;

#[test]
fn a_command_reads_writes_and_exits() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let mut echo = submit(&shard, probe, &["upper"]);
        echo.input = Pipe::holding(Bytes::from_static(b"hello"));
        let task = run(&shard, echo).await;
        assert_eq!(
            (task.status(), output(&task).trim_end()),
            (Status::Succeeded, "HELLO")
        );
        let described = task.describe();
        assert_eq!(described.exit_code, Some(0));
        assert!(described.usage.memory_peak_bytes >= 1 << 16);
        assert!(described.usage.cpu_us > 0 && described.usage.instantiate_us > 0);

        let task = run(&shard, submit(&shard, probe, &["exit", "7"])).await;
        assert_eq!(
            (task.status(), task.describe().exit_code),
            (Status::Failed, Some(7))
        );
        assert_eq!(task.error().map(|error| error.code), Some(Code::GuestExit));

        let task = run(&shard, submit(&shard, probe, &["stderr", "careful"])).await;
        assert_eq!(String::from_utf8_lossy(&task.logs()).trim_end(), "careful");
    });
}

#[test]
fn arguments_and_environment_arrive() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let task = run(&shard, submit(&shard, probe, &["args", "a b", "ü"])).await;
        let text = output(&task);
        assert!(text.contains("a b") && text.contains("ü"), "{text}");
        let mut env = submit(&shard, probe, &["env"]);
        env.environment = vec![("NAME".into(), "value".into())];
        let task = run(&shard, env).await;
        let text = output(&task);
        assert_eq!(
            text.trim_end(),
            "NAME=value",
            "the host's own environment stays out"
        );
    });
}

#[test]
fn a_manifest_admits_only_the_environment_it_declares() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let toml = "[capabilities]\nenvironment = [\"LANG\"]\n";
        let manifest = Manifest::from_toml(toml).expect("a valid manifest");
        let probe = adopt(&shard, "probe.wasm", manifest).await;
        let mut declared = submit(&shard, probe, &["env"]);
        declared.environment = vec![("LANG".into(), "C".into())];
        let task = run(&shard, declared).await;
        assert_eq!(output(&task).trim_end(), "LANG=C");
        let mut other = submit(&shard, probe, &["env"]);
        other.environment = vec![("PATH".into(), "/".into())];
        let error = shard
            .submit(other)
            .await
            .err()
            .expect("it is refused")
            .to_string();
        assert!(error.contains("PATH") && error.contains("LANG"), "{error}");
    });
}

#[test]
fn a_trap_tells_the_functions_by_name() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let task = run(&shard, submit(&shard, probe, &["trap"])).await;
        let error = task.error().expect("it fails");
        assert_eq!(error.code, Code::GuestTrap);
        assert!(error.message.contains("unreachable"), "{}", error.message);
        assert!(
            error.message.matches("probe").count() >= 2,
            "{}",
            error.message
        );
        let task = run(&shard, submit(&shard, probe, &["stack-overflow"])).await;
        let error = task.error().expect("it fails");
        assert_eq!(error.code, Code::GuestTrap);
        assert!(error.message.contains("stack"), "{}", error.message);
    });
}

#[test]
fn input_and_output_stream_at_the_same_time_within_bounds() {
    const CHUNKS: usize = 400;
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let mut echo = submit(&shard, probe, &["echo"]);
        echo.input = Pipe::new(64 << 10);
        echo.stream_output = true;
        let input = std::sync::Arc::clone(&echo.input);
        let task = shard.submit(echo).await.expect("it is accepted").task;
        let chunk = Bytes::from(vec![b'x'; 64 << 10]);
        rt::spawn(async move {
            for _ in 0..CHUNKS {
                assert!(
                    input.write(chunk.clone()).await,
                    "the guest reads to the end"
                );
            }
            input.end(PipeEnd::Complete);
        });
        let output = task.output_stream().expect("the output is streamed");
        let mut bytes = 0;
        while let Some(chunk) = std::future::poll_fn(|context| output.poll_read(context)).await {
            bytes += chunk.len();
        }
        assert_eq!(bytes, CHUNKS << 16);
        assert_eq!(output.ended(), Some(PipeEnd::Complete));
        ended(&task).await;
        assert_eq!(task.status(), Status::Succeeded);
        assert!(
            task.describe().usage.memory_peak_bytes < 8 << 20,
            "nothing piles up in the guest"
        );
    });
}

#[test]
fn input_that_breaks_off_is_never_taken_for_whole() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let mut count = submit(&shard, probe, &["count-lines"]);
        count.input = Pipe::new(1024);
        let input = std::sync::Arc::clone(&count.input);
        let task = shard.submit(count).await.expect("it is accepted").task;
        assert!(input.write(Bytes::from_static(b"one\ntwo\nthr")).await);
        input.end(PipeEnd::Broken);
        ended(&task).await;
        assert_eq!(task.status(), Status::Failed);
        assert_eq!(
            task.error().map(|error| error.code),
            Some(Code::InputIncomplete)
        );
    });
}

#[test]
fn a_preview_1_module_runs_as_a_component() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let cat = adopt(&shard, "preview1-cat-c.wasm", Manifest::default()).await;
        let mut task = submit(&shard, cat, &[]);
        task.input = Pipe::holding(Bytes::from_static(b"through C and wasi-libc\n"));
        let task = run(&shard, task).await;
        assert_eq!(
            output(&task),
            "through C and wasi-libc\n",
            "{:?}",
            task.error()
        );
        let println = adopt(&shard, "preview1-println.wasm", Manifest::default()).await;
        let task = run(&shard, submit(&shard, println, &["argument"])).await;
        assert!(output(&task).contains("argument"), "{:?}", task.error());
    });
}

#[test]
fn an_idempotency_key_finds_the_first_task() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = probe(&shard).await;
        let with_key = |fingerprint| {
            let mut submit = submit(&shard, probe, &["exit", "0"]);
            submit.idempotency = Some(("key".into(), fingerprint));
            submit
        };
        let first = shard.submit(with_key(1)).await.expect("it is accepted");
        let again = shard.submit(with_key(1)).await.expect("it is found");
        assert!(first.created && !again.created);
        assert_eq!(first.task.id(), again.task.id());
        let other = shard
            .submit(with_key(2))
            .await
            .err()
            .expect("another request is refused");
        assert_eq!(other.code(), Code::IdempotencyConflict);
        ended(&first.task).await;
    });
}
