//! A state of many segments: nothing is lost or doubled while it grows, shrinks and is listed.

use std::collections::{HashMap, HashSet};

use super::*;

const LIMITS: StateLimits = StateLimits {
    linger_ms: 0,
    keys_max: u64::MAX,
    bytes_max: u64::MAX,
};

#[test]
fn a_large_state_is_a_map_too() {
    let mut fixture = Fixture::new(ShardLimits::default());
    let access = fixture.access(LIMITS);
    let states = &mut fixture.states;
    let mut model: HashMap<String, Vec<u8>> = HashMap::new();
    let mut random = 3;
    // Growing, then about level, then shrinking.
    for (operations, deletes_percent) in [(60_000, 5), (40_000, 50), (60_000, 90)] {
        for _ in 0..operations {
            let bits = split_mix(&mut random);
            let key = format!("{}", bits % 40_000);
            if bits >> 32 & 127 < deletes_percent * 128 / 100 {
                let expected = model.remove(&key).is_some();
                assert_eq!(states.delete(access, &key), Ok(expected));
            } else {
                let length = if bits >> 60 == 0 {
                    600
                } else {
                    bits >> 40 & 31
                };
                let value = vec![bits as u8; length as usize];
                states.set(access, &key, &value).expect("room");
                model.insert(key, value);
            }
        }
        let payload: usize = model
            .iter()
            .map(|(key, value)| 32 + key.len() + value.len())
            .sum();
        assert_eq!(states.usage().keys as usize, model.len());
        assert_eq!(states.usage().bytes as usize, payload);
        for (key, value) in &model {
            let record = states.get(access, key).expect("state").expect("key");
            assert!(record.value == value, "{key}");
        }
        let keys = all_keys(states, access);
        assert_eq!(keys.len(), model.len());
        assert!(keys.iter().all(|key| model.contains_key(key)));
    }
}

#[test]
fn what_stays_is_listed_exactly_once_while_others_come_and_go() {
    let mut fixture = Fixture::new(ShardLimits::default());
    let access = fixture.access(LIMITS);
    let states = &mut fixture.states;
    let stays: HashSet<_> = (0..5000).map(|number| format!("stays-{number}")).collect();
    for key in &stays {
        states.set(access, key, b"1").expect("room");
    }
    let mut random = 5;
    let mut listed = Vec::new();
    let mut cursor = None;
    loop {
        let page = states.list_keys(access, cursor).expect("state");
        assert!(page.keys.len() <= vyr_core::limits::STATE_PAGE_KEYS_MAX + 8);
        listed.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
        // Enough new keys to split every segment, and changes of those that stay.
        for _ in 0..4000 {
            let bits = split_mix(&mut random);
            let key = format!("comes-{}", bits % 20_000);
            if bits >> 63 == 0 {
                states.set(access, &key, b"1").expect("room");
            } else {
                states.delete(access, &key).expect("state");
            }
            let key = format!("stays-{}", bits % 5000);
            states
                .set(access, &key, &vec![2; (bits >> 40 & 63) as usize])
                .expect("room");
        }
    }
    let once: HashSet<_> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "no key twice");
    assert!(stays.iter().all(|key| once.contains(key)));
}

#[test]
fn a_cursor_that_no_page_gave_does_no_harm() {
    let mut fixture = Fixture::new(ShardLimits::default());
    let access = fixture.access(LIMITS);
    fixture.states.set(access, "key", b"1").expect("room");
    for cursor in [1, 1 << 31, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        let page = fixture
            .states
            .list_keys(access, Some(cursor))
            .expect("state");
        assert_eq!(page.cursor, None);
    }
    assert_eq!(all_keys(&fixture.states, access), ["key"]);
}
