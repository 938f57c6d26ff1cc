//! What is too long, too many or too much is refused and changes nothing; what has ended makes room.

use vyr_core::limits::{
    STATE_BATCH_BYTES_MAX, STATE_BATCH_KEYS_MAX, STATE_FREE_STEP_BYTES, STATE_KEY_BYTES_MAX,
    STATE_VALUE_BYTES_MAX,
};

use super::*;

const WIDE: StateLimits = StateLimits {
    linger_ms: 0,
    keys_max: u64::MAX,
    bytes_max: u64::MAX,
};

#[test]
fn the_longest_key_and_the_largest_value_fit_and_no_longer_ones() {
    let mut fixture = Fixture::new(ShardLimits::default());
    let access = fixture.access(WIDE);
    let states = &mut fixture.states;
    let (key, value) = (
        "k".repeat(STATE_KEY_BYTES_MAX),
        vec![1; STATE_VALUE_BYTES_MAX],
    );
    states.set(access, &key, &value).expect("room");
    let record = states.get(access, &key).expect("state").expect("key");
    assert!(record.value == value);

    let (long_key, large_value) = (key.clone() + "k", vec![1; STATE_VALUE_BYTES_MAX + 1]);
    let len_bytes = long_key.len();
    assert_eq!(
        states.set(access, &long_key, b""),
        Err(StateError::KeyTooLarge { len_bytes })
    );
    assert_eq!(states.exists(access, &long_key), Ok(false));
    assert_eq!(states.delete(access, &long_key), Ok(false));
    let len_bytes = large_value.len();
    let too_large = Err(StateError::ValueTooLarge { len_bytes });
    assert_eq!(states.set(access, &key, &large_value), too_large);
    assert_eq!(states.usage().keys, 1);
}

#[test]
fn a_batch_is_bounded_in_keys_and_bytes_whether_read_or_written() {
    let mut fixture = Fixture::new(ShardLimits::default());
    let access = fixture.access(WIDE);
    let states = &mut fixture.states;
    let refused = StateError::BatchTooLarge;
    let many: Vec<_> = (0..=STATE_BATCH_KEYS_MAX)
        .map(|n| (n.to_string(), b""))
        .collect();
    let keys: Vec<_> = many.iter().map(|(key, _)| key).collect();
    assert_eq!(states.set_many(access, &many).as_ref(), Err(&refused));
    assert_eq!(states.get_many(access, &keys).as_ref(), Err(&refused));
    assert_eq!(states.delete_many(access, &keys).as_ref(), Err(&refused));
    assert_eq!(states.usage().keys, 0);
    assert_eq!(states.set_many(access, &many[1..]), Ok(()));
    assert_eq!(
        states.get_many(access, &keys[1..]).map(|found| found.len()),
        Ok(1024)
    );
    assert_eq!(states.delete_many(access, &keys[1..]), Ok(()));
    assert_eq!(states.usage().keys, 0);

    let third = vec![0; STATE_BATCH_BYTES_MAX / 3];
    let pairs = [("a", &third), ("b", &third), ("c", &third)];
    assert_eq!(states.set_many(access, &pairs).as_ref(), Err(&refused));
    assert_eq!(states.set_many(access, &pairs[1..]), Ok(()));
    states.set(access, "a", &third).expect("room");
    assert_eq!(
        states.get_many(access, &["a", "b", "c"]).as_ref(),
        Err(&refused)
    );
    assert!(states.get_many(access, &["a", "b"]).is_ok());
}

#[test]
fn a_batch_that_meets_a_bound_keeps_what_was_written_before() {
    let mut fixture = Fixture::new(ShardLimits::default());
    let access = fixture.access(StateLimits {
        keys_max: 2,
        ..WIDE
    });
    let states = &mut fixture.states;
    let pairs = [("a", b"1"), ("b", b"2"), ("c", b"3"), ("a", b"4")];
    let full = StateError::Full {
        whose: "the state",
        what: "keys",
        max: 2,
    };
    assert_eq!(states.set_many(access, &pairs), Err(full));
    let found = states.get_many(access, &["a", "b", "c"]).expect("state");
    let values: Vec<_> = found
        .iter()
        .map(|record| record.map(|record| record.value))
        .collect();
    assert_eq!(values, [Some(&b"1"[..]), Some(b"2"), None]);
}

#[test]
fn a_version_is_never_used_again() {
    let mut fixture = Fixture::new(ShardLimits::default());
    let access = fixture.access(WIDE);
    let states = &mut fixture.states;
    let first = states.swap(access, "key", 0, b"1").expect("new");
    states.delete(access, "key").expect("state");
    let second = states.set(access, "key", b"1").expect("room");
    assert!(second > first);
    let conflict = StateError::VersionConflict {
        expected: first,
        current: second,
    };
    assert_eq!(states.swap(access, "key", first, b"2"), Err(conflict));
}

#[test]
fn ended_states_make_room_for_whoever_needs_it() {
    let value = [0; 1000];
    let mut fixture = Fixture::new(ShardLimits {
        states_max: 1,
        state_bytes_max: 8 << 20,
        state_keys_max: 7000,
        ..ShardLimits::default()
    });
    for round in 0..3 {
        let access = fixture.access(WIDE);
        let mut keys = 0;
        while fixture
            .states
            .set(access, &keys.to_string(), &value)
            .is_ok()
        {
            keys += 1;
        }
        assert_eq!(keys, 7000, "round {round}");
        fixture.states.delete_state(access.id(), 0).expect("alive");
        assert_eq!(fixture.states.usage().freeing, 1);
        assert_eq!(
            fixture.states.usage().keys,
            7000,
            "what is not freed yet counts"
        );
        // Nobody calls `free_some`: creating the next one does a step of it at each attempt.
        let refused = std::iter::from_fn(|| {
            let id = fixture.id();
            let created = fixture.states.create(id, WIDE, 0);
            created
                .inspect(|()| fixture.states.delete_state(id, 0).expect("alive"))
                .err()
        });
        assert!(refused.count() < 16);
        fixture.free_all(0);
    }
}

#[test]
fn a_step_frees_no_more_than_its_budget() {
    let mut fixture = Fixture::new(ShardLimits::default());
    let small = fixture.access(WIDE);
    for number in 0..60_000 {
        fixture
            .states
            .set(small, &number.to_string(), b"0123456789abcdef")
            .expect("room");
    }
    let large = fixture.access(WIDE);
    for number in 0..20 {
        let value = vec![1; STATE_VALUE_BYTES_MAX];
        fixture
            .states
            .set(large, &number.to_string(), &value)
            .expect("room");
    }
    for access in [small, large] {
        fixture.states.delete_state(access.id(), 0).expect("alive");
    }
    let mut steps = 0;
    while fixture.states.usage().freeing > 0 {
        let before = fixture.states.usage();
        fixture.states.free_some(0, STATE_FREE_STEP_BYTES);
        let after = fixture.states.usage();
        // A record of this test has 35 bytes at least, and the last segment may go beyond.
        let most = STATE_FREE_STEP_BYTES / 35 + 448;
        assert!(
            before.keys - after.keys <= most,
            "step {steps}: {before:?} {after:?}"
        );
        steps += 1;
    }
    // About 3 MB of small records, and 20 values of 1 MiB, one for each step.
    assert!((20..30).contains(&steps), "{steps}");
    assert_eq!(
        (fixture.states.usage().keys, fixture.states.usage().bytes),
        (0, 0)
    );
}

#[test]
fn keys_that_collide_fill_one_segment_and_harm_no_other_key() {
    // Without a secret, 8 zeros at the right places make every hash the same.
    let mut fixture = Fixture::with_secret(ShardLimits::default(), Secret::new([0; 192]));
    let access = fixture.access(WIDE);
    let states = &mut fixture.states;
    let zeros = "\0".repeat(8);
    let key = |number| format!("{zeros}{number:08}{zeros}{number:08}");
    let fits = (0..)
        .take_while(|&number| states.set(access, &key(number), b"1").is_ok())
        .count();
    assert_eq!(fits, 448);
    let error = states.set(access, &key(448), b"1").expect_err("full");
    assert_eq!(error.code(), vyr_core::problem::Code::StateFull);
    assert!(states.set(access, &key(3), b"another length").is_ok());
    assert!(states.set(access, "another key", b"1").is_ok());
    assert_eq!(all_keys(states, access).len(), 449);
    assert_eq!(states.delete(access, &key(3)), Ok(true));
    assert!(states.set(access, &key(448), b"1").is_ok());
}
