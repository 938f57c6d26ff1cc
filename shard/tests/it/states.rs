//! States as guests see them: lifetime, isolation, bounds, both drafts of `wasi:keyvalue`.

use std::rc::Rc;

use vyr_core::artifact::{InstancePolicy, Instances, Manifest, ManifestLimits, StateDeclaration};
use vyr_core::digest::Digest;
use vyr_core::id::StateId;
use vyr_core::limits::{STATE_BINDINGS_MAX, ShardLimits, StateLimits};
use vyr_core::problem::Code;
use vyr_core::state::{Binding, Mode};
use vyr_core::task::Status;
use vyr_core::trace::{Record, Step};
use vyr_shard::state::{Call, Reply};
use vyr_shard::{Error, Shard, Task};

use crate::support::*;

const LINGERING: StateLimits = StateLimits {
    linger_ms: 60_000,
    ..StateLimits::DEFAULT
};

fn declaring(names: &[&str]) -> Manifest {
    let state = names.iter().map(|name| StateDeclaration {
        name: (*name).into(),
        mode: Mode::Rw,
    });
    Manifest {
        state: state.collect(),
        ..Manifest::default()
    }
}

async fn state_probe(shard: &Shard) -> Digest {
    adopt(shard, "state-probe.wasm", declaring(&["a", "b"])).await
}

fn create(shard: &Shard, limits: StateLimits) -> StateId {
    shard.states().create(limits).expect("room").id
}

fn bound(state: StateId, name: &str, mode: Mode) -> Binding {
    Binding {
        state,
        name: name.into(),
        mode,
    }
}

async fn start(
    shard: &Rc<Shard>,
    artifact: Digest,
    operations: &str,
    bindings: &[Binding],
) -> Result<Rc<Task>, Error> {
    let words: Vec<_> = operations.split(' ').collect();
    let mut submit = submit(shard, artifact, &words);
    submit.bindings = bindings.to_vec();
    Ok(shard.submit(submit).await?.task)
}

/// Runs operations, separated by ` -- `, and returns a line for each.
async fn operate(
    shard: &Rc<Shard>,
    artifact: Digest,
    operations: &str,
    bindings: &[Binding],
) -> Vec<String> {
    let task = start(shard, artifact, operations, bindings)
        .await
        .expect("accepted");
    ended(&task).await;
    assert_eq!(task.status(), Status::Succeeded, "{:?}", task.error());
    let output = task.output().expect("kept");
    let text = String::from_utf8(output.to_vec()).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

async fn freed(shard: &Shard) {
    until("all states are freed", || {
        let usage = shard.states().usage();
        (usage.states, usage.keys, usage.bytes, usage.freeing) == (0, 0, 0, 0)
    })
    .await;
}

#[test]
fn both_drafts_do_what_they_promise() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = state_probe(&shard).await;
        let state = bound(create(&shard, StateLimits::DEFAULT), "a", Mode::Rw);
        let operations = "a get k -- a set k v -- a get k -- a exists k -- a delete k -- a exists k -- \
            a increment n 5 -- a increment n -7 -- a get n -- a swap c none 1 -- a swap c 1 2 -- a swap c 1 3 -- \
            a batch x 1 y 2 -- a list -- a increment y 1 -- a set bad text -- a increment bad 1 -- \
            old a get y -- old a set y 10 -- old a increment y 3 -- old a increment n 1 -- a get n -- old a get-many c missing y -- \
            old a list -- old a exists x -- old a delete y -- old a get y";
        let lines = operate(&shard, probe, operations, &[state]).await;
        let below_zero = "error: state_not_counter: the sum would leave the counter's range, 0 to 9223372036854775807";
        let not_counter = "error: state_not_counter: the value is not a decimal number of 64 bits; set one before incrementing it";
        assert_eq!(
            lines,
            [
                "none",
                "ok",
                "v",
                "true",
                "ok",
                "false",
                "5",
                "-2",
                "-2",
                "ok",
                "ok",
                "is 2",
                "x=1 y=2 missing=none",
                "3 c n y",
                "3",
                "ok",
                not_counter,
                "3",
                "ok",
                "13",
                below_zero,
                "-2",
                "c=2 y=13",
                "4 bad c n y",
                "false",
                "ok",
                "none",
            ]
        );
        freed(&shard).await;
    });
}

#[test]
fn a_task_sees_the_states_it_is_bound_to_and_no_others() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = state_probe(&shard).await;
        let (mine, yours) = (create(&shard, LINGERING), create(&shard, LINGERING));
        let write = |text: &'static str| format!("a set k {text} -- b get k -- other get k");
        let unbound = "error: no-such-store";
        for (state, text) in [(mine, "mine"), (yours, "yours")] {
            let lines = operate(&shard, probe, &write(text), &[bound(state, "a", Mode::Rw)]).await;
            assert_eq!(lines, ["ok", unbound, unbound]);
        }
        let both = [bound(mine, "a", Mode::Rw), bound(yours, "b", Mode::Ro)];
        let lines = operate(
            &shard,
            probe,
            "a get k -- b get k -- b set k x -- b increment k 1",
            &both,
        )
        .await;
        assert_eq!(
            lines,
            [
                "mine",
                "yours",
                "error: access-denied",
                "error: access-denied"
            ]
        );
        // The very same operations without any state.
        assert_eq!(operate(&shard, probe, "a get k", &[]).await, [unbound]);
        shard.states().delete(mine).expect("there");
        shard.states().delete(yours).expect("there");
        freed(&shard).await;
    });
}

#[test]
fn what_cannot_be_bound_is_refused_and_leaves_nothing() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = state_probe(&shard).await;
        let state = create(&shard, LINGERING);
        let refused = async |bindings: &[Binding]| {
            let started = start(&shard, probe, "a get k", bindings).await;
            started.map(drop).expect_err("refused").code()
        };
        let undeclared = bound(state, "c", Mode::Rw);
        assert_eq!(refused(&[undeclared]).await, Code::StateBindingRefused);
        let twice = [bound(state, "a", Mode::Rw), bound(state, "a", Mode::Ro)];
        assert_eq!(refused(&twice).await, Code::StateBindingRefused);
        let elsewhere = StateId::from_bits(state.to_bits() ^ (1 << 70));
        assert_eq!(
            refused(&[bound(elsewhere, "a", Mode::Rw)]).await,
            Code::StateNotFound
        );
        let gone = StateId::from_bits(state.to_bits() ^ 1);
        assert_eq!(
            refused(&[bound(state, "a", Mode::Rw), bound(gone, "b", Mode::Rw)]).await,
            Code::StateNotFound
        );
        assert_eq!(shard.states().describe(state).expect("there").bindings, 0);
        assert!(
            shard.tasks(None, 10, |_| true).is_empty(),
            "no task was made"
        );

        let names: Vec<_> = (0..=STATE_BINDINGS_MAX)
            .map(|number| number.to_string())
            .collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let many = adopt(&shard, "probe.wasm", declaring(&names)).await;
        let all: Vec<_> = names
            .iter()
            .map(|name| bound(state, name, Mode::Rw))
            .collect();
        let started = start(&shard, many, "args", &all).await;
        assert_eq!(
            started.map(drop).expect_err("refused").code(),
            Code::StateBindingRefused
        );
        assert_eq!(shard.states().describe(state).expect("there").bindings, 0);
    });
}

#[test]
fn a_state_survives_a_submission_that_is_refused() {
    let limits = ShardLimits {
        running_max: 1,
        queued_max: 1,
        ..ShardLimits::default()
    };
    on_each_executor(limits, async |shard| {
        let probe = state_probe(&shard).await;
        let command = crate::support::probe(&shard).await;
        let state = create(&shard, StateLimits::DEFAULT);
        let gone = StateId::from_bits(state.to_bits() ^ 1);
        let name = |state, name| bound(state, name, Mode::Rw);
        let unbound = || {
            let left = shard.states().describe(state).expect("it is still there");
            left.bindings == 0 && left.expires_in_ms.is_some_and(|left_ms| left_ms > 30_000)
        };
        let refused = async |bindings: &[Binding]| {
            let started = start(&shard, probe, "a get k", bindings).await;
            assert!(unbound());
            started.map(drop).expect_err("refused").code()
        };
        let codes = [
            (name(gone, "b"), Code::StateNotFound),
            (name(state, "a"), Code::StateBindingRefused),
            (name(state, "c"), Code::StateBindingRefused),
        ];
        for (second, code) in codes {
            assert_eq!(refused(&[name(state, "a"), second]).await, code);
        }
        let busy = start(&shard, command, "spin", &[]).await.expect("accepted");
        until("it runs", || busy.status() == Status::Running).await;
        let waiting = start(&shard, probe, "a get k", &[])
            .await
            .expect("accepted");
        assert_eq!(refused(&[name(state, "a")]).await, Code::Overloaded);
        let taken = name(create(&shard, LINGERING), "a");
        shard.bind(&waiting, taken).await.expect("it waits");
        shard
            .bind(&waiting, name(state, "a"))
            .await
            .expect_err("taken");
        assert!(unbound());
        busy.cancel();
        ended(&waiting).await;
        let path = get("/a/get/k");
        let arrival = shard.arrival(None);
        let both = [name(state, "a"), name(gone, "b")];
        let invoked = shard.invoke_bound(&probe, path, arrival, &both).await;
        let code = invoked.map(drop).expect_err("refused").code();
        assert_eq!(code, Code::StateNotFound);
        assert!(unbound());
    });
}

#[test]
fn a_state_lives_as_long_as_its_tasks_and_its_linger() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = state_probe(&shard).await;
        let command = adopt(&shard, "probe.wasm", declaring(&["a"])).await;
        // However its task ends.
        for (arguments, status) in [
            ("args", Status::Succeeded),
            ("exit 3", Status::Failed),
            ("trap", Status::Failed),
            ("spin", Status::Cancelled),
        ] {
            let state = create(&shard, StateLimits::DEFAULT);
            let task = start(&shard, command, arguments, &[bound(state, "a", Mode::Rw)])
                .await
                .expect("accepted");
            assert_eq!(task.describe().bindings, [bound(state, "a", Mode::Rw)]);
            if status == Status::Cancelled {
                until("it runs", || task.status() == Status::Running).await;
                assert_eq!(shard.states().describe(state).expect("bound").bindings, 1);
                task.cancel();
            }
            ended(&task).await;
            assert_eq!(task.status(), status);
            assert!(task.describe().bindings.is_empty());
            assert_eq!(
                shard.states().describe(state).map_err(|error| error.code()),
                Err(Code::StateNotFound)
            );
        }
        // What one task leaves, the next one finds, while the state lingers.
        let state = create(&shard, LINGERING);
        let binding = [bound(state, "a", Mode::Rw)];
        assert_eq!(
            operate(&shard, probe, "a increment n 1", &binding).await,
            ["1"]
        );
        assert_eq!(
            operate(&shard, probe, "a increment n 1", &binding).await,
            ["2"]
        );
        let short = create(
            &shard,
            StateLimits {
                linger_ms: 20,
                ..StateLimits::DEFAULT
            },
        );
        operate(&shard, probe, "a set k v", &[bound(short, "a", Mode::Rw)]).await;
        until("its linger is over", || {
            shard.states().describe(short).is_err()
        })
        .await;
        shard.states().delete(state).expect("there");
        freed(&shard).await;
    });
}

#[test]
fn a_state_is_bound_while_its_task_waits_and_not_later() {
    let limits = ShardLimits {
        running_max: 1,
        ..ShardLimits::default()
    };
    on_each_executor(limits, async |shard| {
        let probe = state_probe(&shard).await;
        let state = create(&shard, LINGERING);
        let command = crate::support::probe(&shard).await;
        let busy = start(&shard, command, "spin", &[]).await.expect("accepted");
        until("it runs", || busy.status() == Status::Running).await;
        let waiting = start(&shard, probe, "a set k v -- a get k", &[])
            .await
            .expect("accepted");
        let bind = async |name: &str| shard.bind(&waiting, bound(state, name, Mode::Rw)).await;
        bind("a").await.expect("it waits");
        assert_eq!(
            bind("a").await.expect_err("taken").code(),
            Code::StateBindingRefused
        );
        assert_eq!(
            bind("c").await.expect_err("undeclared").code(),
            Code::StateBindingRefused
        );
        let late = shard
            .bind(&busy, bound(state, "a", Mode::Rw))
            .await
            .expect_err("it runs");
        assert!(late.to_string().contains("running"), "{late}");
        busy.cancel();
        ended(&waiting).await;
        assert_eq!(waiting.output().expect("kept"), "ok\nv\n");
        assert_eq!(
            bind("b").await.expect_err("it has ended").code(),
            Code::StateBindingRefused
        );
        assert_eq!(shard.states().describe(state).expect("lingers").bindings, 0);
    });
}

#[test]
fn a_guest_can_handle_a_full_state() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let mut manifest = declaring(&["a"]);
        manifest.limits = ManifestLimits {
            state_bytes_max: Some(5_000),
            ..ManifestLimits::default()
        };
        let modest = adopt(&shard, "state-probe.wasm", manifest).await;
        let operations =
            "a fill 100 1000 -- a get missing -- a empty -- a list -- a set k v -- a get k";
        // The task's own bound, smaller than the state's.
        let state = create(&shard, StateLimits::DEFAULT);
        let lines = operate(&shard, modest, operations, &[bound(state, "a", Mode::Rw)]).await;
        assert!(
            lines[0].starts_with("4 written, then state_full: the task's share"),
            "{}",
            lines[0]
        );
        assert_eq!(lines[1..], ["none", "ok", "0 ", "ok", "v"]);
        // The state's bounds, smaller than the task's.
        for (limits, whose) in [
            (
                StateLimits {
                    bytes_max: 3_000,
                    ..StateLimits::DEFAULT
                },
                "2 written, then state_full: the state is full",
            ),
            (
                StateLimits {
                    keys_max: 3,
                    ..StateLimits::DEFAULT
                },
                "3 written, then state_full: the state is full",
            ),
        ] {
            let state = create(&shard, limits);
            let lines = operate(&shard, modest, operations, &[bound(state, "a", Mode::Rw)]).await;
            assert!(lines[0].starts_with(whose), "{}", lines[0]);
        }
    });
}

#[test]
fn a_guest_does_not_fill_the_hosts_memory_with_values_it_read() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = state_probe(&shard).await;
        let state = create(&shard, StateLimits::DEFAULT);
        let operations = "a hoard k 1000 -- a hoard k 64 -- a swap k none v";
        let lines = operate(&shard, probe, operations, &[bound(state, "a", Mode::Rw)]).await;
        assert!(
            lines[0].starts_with("64 begun, then state_batch_too_large"),
            "{}",
            lines[0]
        );
        assert_eq!(lines[1..], ["64 begun", "ok"]);
    });
}

#[test]
fn the_shard_has_bounds_of_its_own() {
    let limits = ShardLimits {
        states_max: 2,
        state_keys_max: 10,
        ..ShardLimits::default()
    };
    on_each_executor(limits, async |shard| {
        let probe = state_probe(&shard).await;
        let (first, second) = (create(&shard, LINGERING), create(&shard, LINGERING));
        let third = shard
            .states()
            .create(LINGERING)
            .map_err(|error| error.code());
        assert_eq!(third, Err(Code::StatesExhausted));
        operate(&shard, probe, "a fill 6 1", &[bound(first, "a", Mode::Rw)]).await;
        let lines = operate(&shard, probe, "a fill 6 1", &[bound(second, "a", Mode::Rw)]).await;
        assert!(
            lines[0].starts_with("4 written, then state_full: the shard is full"),
            "{}",
            lines[0]
        );
        // What is freed is there again.
        shard.states().delete(first).expect("there");
        create(&shard, LINGERING);
        let lines = operate(
            &shard,
            probe,
            "a empty -- a fill 10 1",
            &[bound(second, "a", Mode::Rw)],
        )
        .await;
        assert_eq!(lines, ["ok", "10 written"]);
    });
}

#[test]
fn racing_tasks_lose_no_write() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = state_probe(&shard).await;
        let state = create(&shard, LINGERING);
        let binding = [bound(state, "a", Mode::Rw)];
        let mut racing = Vec::new();
        for _ in 0..8 {
            racing.push(
                start(&shard, probe, "a race n 25", &binding)
                    .await
                    .expect("accepted"),
            );
        }
        let mut lost = 0;
        for task in racing {
            ended(&task).await;
            let output = String::from_utf8(task.output().expect("kept").to_vec()).expect("UTF-8");
            let count = output.trim().strip_prefix("lost ").expect("it ended well");
            lost += count.parse::<u32>().expect("a number");
        }
        let read = shard
            .states()
            .call_by_id(state, Call::Get { key: "n".into() });
        assert!(
            matches!(read, Ok(Reply::Value(Some((ref value, _)))) if value == b"200"),
            "{read:?}"
        );
        assert!(lost > 0, "they did race");
    });
}

#[test]
fn a_bucket_that_an_earlier_task_opened_is_of_no_use_to_the_next() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let mut manifest = declaring(&["a"]);
        manifest.instances = Instances {
            policy: InstancePolicy::Reuse,
            tasks_max: None,
            idle_ms_max: None,
        };
        let probe = adopt(&shard, "state-probe.wasm", manifest).await;
        let state = create(&shard, LINGERING);
        let invoke = async |path: &str, bindings: &[Binding]| {
            let arrival = shard.arrival(None);
            let (task, response) = shard
                .invoke_bound(&probe, get(path), arrival, bindings)
                .await
                .expect("accepted");
            let answer = text(response.expect("a response")).await;
            ended(&task).await;
            (answer, task.describe().usage.reused)
        };
        let binding = [bound(state, "a", Mode::Rw)];
        assert_eq!(invoke("/a/set/k/secret", &binding).await.0, "ok\n");
        assert_eq!(invoke("/a/keep", &binding).await.0, "ok\n");
        let (answer, reused) = invoke("/kept/get/k", &[]).await;
        assert!(reused, "the same instance");
        assert!(answer.starts_with("error: state_not_found"), "{answer}");
        let (answer, reused) = invoke("/kept/get/k", &binding).await;
        assert!(
            reused && answer.starts_with("error: state_not_found"),
            "{answer}"
        );
        assert_eq!(invoke("/a/get/k", &binding).await.0, "secret\n");
    });
}

#[test]
fn binds_of_a_task_that_is_refused_leave_no_span() {
    on_each_executor(ShardLimits::default(), async |shard| {
        let probe = state_probe(&shard).await;
        let state = bound(create(&shard, LINGERING), "a", Mode::Rw);
        let binds = || {
            let chosen = |record: &Record| (record.step == Step::Bind).then_some(*record);
            shard.recent().since(0, usize::MAX, chosen).items
        };
        let task = start(&shard, probe, "a set k v", std::slice::from_ref(&state)).await;
        let task = task.expect("accepted");
        ended(&task).await;
        let told = binds();
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].task, told[0].parent),
            (task.id(), Some(task.trace().span_id))
        );
        shard.refuse_tasks();
        let refused = start(&shard, probe, "a set k v", &[state]).await;
        assert_eq!(
            refused.err().map(|error| error.code()),
            Some(Code::Overloaded)
        );
        assert_eq!(binds().len(), 1);
    });
}
