//! How long a state lives, case by case, and who may see it.

use vyr_core::problem::Code;

use super::*;

enum Event {
    Bind,
    Unbind,
    GiveUp,
    Delete,
}
use Event::{Bind, Delete, GiveUp, Unbind};

/// What happens at which second, and at which seconds the state is there or not.
type Case = (
    &'static str,
    u64,
    &'static [(u64, Event)],
    &'static [(u64, bool)],
);

const CASES: &[Case] = &[
    ("never bound", 0, &[], &[(0, true), (59, true), (60, false)]),
    (
        "never bound, longer linger",
        90,
        &[],
        &[(60, true), (89, true), (90, false)],
    ),
    (
        "no linger",
        0,
        &[(1, Bind), (70, Unbind)],
        &[(1, true), (69, true), (70, false)],
    ),
    (
        "linger",
        5,
        &[(1, Bind), (2, Unbind)],
        &[(2, true), (6, true), (7, false)],
    ),
    (
        "bound again while it lingers",
        5,
        &[(1, Bind), (2, Unbind), (6, Bind), (100, Unbind)],
        &[(7, true), (100, true), (104, true), (105, false)],
    ),
    (
        "the last binding counts",
        0,
        &[(1, Bind), (2, Bind), (3, Unbind), (9, Unbind)],
        &[(3, true), (8, true), (9, false)],
    ),
    (
        "given up before its first use",
        0,
        &[(1, Bind), (2, GiveUp)],
        &[(2, true), (59, true), (60, false)],
    ),
    (
        "given up while it lingers",
        5,
        &[(1, Bind), (2, Unbind), (3, Bind), (4, GiveUp)],
        &[(4, true), (6, true), (7, false)],
    ),
    (
        "given up while another task has it",
        0,
        &[(1, Bind), (2, Bind), (3, GiveUp), (9, Unbind)],
        &[(3, true), (8, true), (9, false)],
    ),
    (
        "given up after another task had it",
        0,
        &[(1, Bind), (2, Bind), (3, Unbind), (9, GiveUp)],
        &[(3, true), (8, true), (9, false)],
    ),
    (
        "given up too late",
        0,
        &[(1, Bind), (70, GiveUp)],
        &[(69, true), (70, false)],
    ),
    (
        "deleted while bound",
        9,
        &[(1, Bind), (2, Delete), (3, Unbind)],
        &[(1, true), (2, false), (4, false)],
    ),
    (
        "deleted while it lingers",
        9,
        &[(1, Bind), (2, Unbind), (3, Delete)],
        &[(2, true), (3, false)],
    ),
];

#[test]
fn a_state_lives_while_it_is_bound_and_lingers_after() {
    for (name, linger_s, events, expected) in CASES {
        for (until_s, alive) in *expected {
            let mut fixture = Fixture::new(ShardLimits::default());
            let limits = StateLimits {
                linger_ms: linger_s * 1000,
                ..StateLimits::DEFAULT
            };
            let id = fixture.create(limits, 0);
            let states = &mut fixture.states;
            let mut bindings = Vec::new();
            for (at_s, event) in events.iter().filter(|(at_s, _)| at_s <= until_s) {
                let at_ns = at_s * SECOND_NS;
                match event {
                    Bind => bindings.push(states.bind(id, Mode::Rw, at_ns).expect("alive")),
                    Unbind => states.unbind(bindings.pop().expect("bound"), at_ns),
                    GiveUp => states.give_up(bindings.pop().expect("bound"), at_ns),
                    Delete => states.delete_state(id, at_ns).expect("alive"),
                }
            }
            let found = states.open(id, Mode::Ro, until_s * SECOND_NS).is_ok();
            assert_eq!(found, *alive, "{name}, second {until_s}");
        }
    }
}

#[test]
fn what_is_due_is_told_and_done_in_time() {
    let mut fixture = Fixture::new(ShardLimits::default());
    let linger = |linger_ms| StateLimits {
        linger_ms,
        ..StateLimits::DEFAULT
    };
    assert_eq!(fixture.states.free_some(0, 1), None);
    fixture.create(linger(90_000), 0);
    fixture.create(linger(0), 0);
    assert_eq!(fixture.states.free_some(0, 1), Some(60 * SECOND_NS));
    assert_eq!(fixture.states.usage().states, 2);
    assert_eq!(
        fixture.states.free_some(60 * SECOND_NS, 1),
        Some(90 * SECOND_NS)
    );
    assert_eq!(fixture.states.usage().states, 1);
    assert_eq!(fixture.states.free_some(90 * SECOND_NS, 1), None);
}

#[test]
fn a_view_says_what_the_state_is() {
    let mut fixture = Fixture::new(ShardLimits::default());
    let limits = StateLimits {
        linger_ms: 5000,
        keys_max: 10,
        bytes_max: 1000,
    };
    let id = fixture.create(limits, 0);
    let binding = fixture.states.bind(id, Mode::Rw, 0).expect("alive");
    fixture
        .states
        .set(binding.access(), "key", b"value")
        .expect("room");
    let view = fixture.states.describe(id, 0).expect("alive");
    assert_eq!(
        (view.id, view.shard, view.created_ms),
        (id, ShardNumber(2), 1000)
    );
    assert_eq!((view.bindings, view.expires_in_ms), (1, None));
    assert_eq!((view.keys, view.bytes), (1, 40));
    assert_eq!(
        (view.linger_ms, view.keys_max, view.bytes_max),
        (5000, 10, 1000)
    );
    fixture.states.unbind(binding, SECOND_NS);
    let view = fixture.states.describe(id, 2 * SECOND_NS).expect("alive");
    assert_eq!((view.bindings, view.expires_in_ms), (0, Some(4000)));
}

#[test]
fn a_slot_that_is_used_again_shows_nothing_to_those_before() {
    let mut fixture = Fixture::new(ShardLimits::default());
    let old = fixture.access(StateLimits::DEFAULT);
    fixture.states.delete_state(old.id(), 0).expect("alive");
    let new = fixture.access(StateLimits::DEFAULT);
    fixture.states.set(new, "key", b"new").expect("room");
    let gone = StateError::NotFound { id: old.id() };
    assert_eq!(fixture.states.get(old, "key"), Err(gone.clone()));
    assert_eq!(fixture.states.set(old, "key", b"old"), Err(gone.clone()));
    assert_eq!(fixture.states.delete(old, "key"), Err(gone.clone()));
    assert_eq!(fixture.states.list_keys(old, None), Err(gone));
}

#[test]
fn a_read_only_binding_reads_and_refuses_every_write() {
    let mut fixture = Fixture::new(ShardLimits::default());
    let access = fixture.access(StateLimits::DEFAULT);
    let states = &mut fixture.states;
    states.set(access, "key", b"1").expect("room");
    let binding = states.bind(access.id(), Mode::Ro, 0).expect("alive");
    let reader = binding.access();
    let refused = StateError::ReadOnly;
    assert_eq!(states.set(reader, "key", b"2").as_ref(), Err(&refused));
    assert_eq!(states.swap(reader, "key", 1, b"2").as_ref(), Err(&refused));
    assert_eq!(
        states.increment(reader, "key", 1, 0..).as_ref(),
        Err(&refused)
    );
    assert_eq!(states.delete(reader, "key").as_ref(), Err(&refused));
    assert_eq!(
        states.set_many(reader, &[("key", b"2")]).as_ref(),
        Err(&refused)
    );
    assert_eq!(states.delete_many(reader, &["key"]).as_ref(), Err(&refused));
    let record = states.get(reader, "key").expect("state").expect("key");
    assert_eq!((record.value, record.version), (&b"1"[..], 1));
    assert_eq!(all_keys(states, reader), ["key"]);
    states.unbind(binding, 0);
}

#[test]
fn a_restarted_shard_knows_which_states_are_lost() {
    let mut fixture = Fixture::new(ShardLimits::default());
    let of =
        |shard, life| StateIdSource::new(ShardNumber(shard), ShardLife(life), 1).next(UNIX_EPOCH);
    let (lost, unknown, elsewhere) = (of(2, 0), of(2, 1), of(3, 0));
    let mut code = |id| {
        fixture
            .states
            .bind(id, Mode::Rw, 0)
            .map(drop)
            .map_err(|e| e.code())
    };
    assert_eq!(code(lost), Err(Code::StateLost));
    assert_eq!(code(unknown), Err(Code::StateNotFound));
    assert_eq!(code(elsewhere), Err(Code::StateNotFound));
}
