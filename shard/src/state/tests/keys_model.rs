//! Every operation on keys, in any order and on two states at once, does what it does to a map.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vyr_core::limits::STATE_KEY_OVERHEAD_BYTES;

use super::*;

const KEYS_MAX: u64 = 12;
const BYTES_MAX: u64 = 8000;
const SHARD_KEYS_MAX: u64 = 20;
const SHARD_BYTES_MAX: u64 = 12_000;

#[derive(Debug, Clone)]
enum Operation {
    Get(String),
    Set(String, Vec<u8>),
    Delete(String),
    /// Of a version that may be current.
    DeleteVersion(String, u64),
    /// With the least sum.
    Increment(String, i64, i64),
    /// Swap, with the version that is current, or another one.
    Swap(String, Vec<u8>, Option<u64>),
    GetMany(Vec<String>),
    SetMany(Vec<(String, Vec<u8>)>),
    DeleteMany(Vec<String>),
    List,
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0..20u8).prop_map(|number| format!("key-{number}")),
        1 => Just(String::new()),
        1 => Just("ключ".repeat(60)),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..40),
        2 => (-50i64..50).prop_map(|number| number.to_string().into_bytes()),
        1 => Just(i64::MAX.to_string().into_bytes()),
        1 => (510..515usize).prop_map(|length| vec![1; length]),
        1 => (2000..2010usize).prop_map(|length| vec![2; length]),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let some_keys = || proptest::collection::vec(key(), 0..6);
    prop_oneof![
        4 => key().prop_map(Get),
        8 => (key(), value()).prop_map(|(key, value)| Set(key, value)),
        4 => key().prop_map(Delete),
        2 => (key(), 0..30u64).prop_map(|(key, version)| DeleteVersion(key, version)),
        4 => (key(), -5i64..100, prop_oneof![Just(i64::MIN), Just(0)])
            .prop_map(|(key, delta, least)| Increment(key, delta, least)),
        4 => (key(), value(), proptest::option::of(0..30u64))
            .prop_map(|(key, value, version)| Swap(key, value, version)),
        2 => some_keys().prop_map(GetMany),
        2 => proptest::collection::vec((key(), value()), 0..6).prop_map(SetMany),
        2 => some_keys().prop_map(DeleteMany),
        1 => Just(List),
    ]
}

#[derive(Default)]
struct Model {
    /// Value and version.
    keys: BTreeMap<String, (Vec<u8>, u64)>,
    writes: u64,
}

impl Model {
    fn bytes(&self) -> u64 {
        let bytes = |(key, (value, _)): (&String, &(Vec<u8>, u64))| key.len() + value.len();
        let payload: usize = self.keys.iter().map(bytes).sum();
        payload as u64 + self.keys.len() as u64 * STATE_KEY_OVERHEAD_BYTES
    }

    fn version(&self, key: &str) -> u64 {
        self.keys.get(key).map_or(0, |&(_, version)| version)
    }
}

/// Writes to the model if the bounds allow it; says otherwise whose and which bound does not.
fn write(
    models: &mut [Model; 2],
    index: usize,
    key: &str,
    value: &[u8],
) -> Result<u64, (&'static str, &'static str)> {
    let held = |models: &[Model; 2]| {
        let keys: usize = models.iter().map(|model| model.keys.len()).sum();
        let bytes: u64 = models.iter().map(Model::bytes).sum();
        (keys as u64, bytes)
    };
    let (shard_keys, shard_bytes) = held(models);
    let model = &mut models[index];
    let (own_keys, own_bytes) = (model.keys.len() as u64, model.bytes());
    let version = model.writes + 1;
    let old = model.keys.insert(key.into(), (value.into(), version));
    let (keys, bytes) = (model.keys.len() as u64, model.bytes());
    let grown_bytes = bytes.saturating_sub(own_bytes);
    let refused = if keys > own_keys && keys > KEYS_MAX {
        Some(("the state", "keys"))
    } else if keys > own_keys && shard_keys + 1 > SHARD_KEYS_MAX {
        Some(("the shard", "keys"))
    } else if grown_bytes > 0 && bytes > BYTES_MAX {
        Some(("the state", "bytes"))
    } else if grown_bytes > 0 && shard_bytes + grown_bytes > SHARD_BYTES_MAX {
        Some(("the shard", "bytes"))
    } else {
        None
    };
    if let Some(bound) = refused {
        match old {
            Some(old) => model.keys.insert(key.into(), old),
            None => model.keys.remove(key),
        };
        return Err(bound);
    }
    model.writes = version;
    Ok(version)
}

fn bound_of<T>(result: Result<T, StateError>) -> Result<T, (&'static str, &'static str)> {
    result.map_err(|error| match error {
        StateError::Full { whose, what, .. } => (whose, what),
        other => panic!("not a bound: {other}"),
    })
}

proptest! {
    #[test]
    fn a_state_is_a_map(steps in proptest::collection::vec((0..2usize, operation()), 1..150)) {
        let mut fixture = Fixture::new(ShardLimits {
            state_keys_max: SHARD_KEYS_MAX,
            state_bytes_max: SHARD_BYTES_MAX,
            ..ShardLimits::default()
        });
        let limits = StateLimits { linger_ms: 0, keys_max: KEYS_MAX, bytes_max: BYTES_MAX };
        let accesses = [fixture.access(limits), fixture.access(limits)];
        let mut models = [Model::default(), Model::default()];
        for (index, operation) in steps {
            let (states, access) = (&mut fixture.states, accesses[index]);
            match operation {
                Operation::Get(key) => {
                    let expected = models[index].keys.get(&key);
                    let found = states.get(access, &key).expect("state");
                    let found = found.map(|record| (record.value.to_vec(), record.version));
                    prop_assert_eq!(found.as_ref(), expected);
                    prop_assert_eq!(states.exists(access, &key), Ok(expected.is_some()));
                }
                Operation::Set(key, value) => {
                    let expected = write(&mut models, index, &key, &value);
                    prop_assert_eq!(bound_of(states.set(access, &key, &value)), expected);
                }
                Operation::Delete(key) => {
                    let expected = models[index].keys.remove(&key).is_some();
                    prop_assert_eq!(states.delete(access, &key), Ok(expected));
                }
                Operation::DeleteVersion(key, expected) => {
                    let current = models[index].version(&key);
                    let result = states.delete_version(access, &key, expected);
                    if expected == current {
                        let existed = models[index].keys.remove(&key).is_some();
                        prop_assert_eq!(result, Ok(existed));
                    } else {
                        let conflict = StateError::VersionConflict { expected, current };
                        prop_assert_eq!(result, Err(conflict));
                    }
                }
                Operation::Increment(key, delta, least) => {
                    let old = models[index].keys.get(&key).map(|(value, _)| value.clone());
                    let text = old.map_or(Ok("0".into()), String::from_utf8);
                    let number = text.ok().and_then(|text| text.parse::<i64>().ok());
                    let result = states.increment(access, &key, delta, least..);
                    let sum = |number: i64| number.checked_add(delta).filter(|&sum| sum >= least);
                    match number.map(sum) {
                        None => prop_assert_eq!(result, Err(StateError::NotCounter)),
                        Some(None) => {
                            prop_assert_eq!(result, Err(StateError::CounterOverflow { least }));
                        }
                        Some(Some(sum)) => {
                            let text = sum.to_string();
                            let expected = write(&mut models, index, &key, text.as_bytes());
                            prop_assert_eq!(bound_of(result), expected.map(|_| sum));
                        }
                    }
                }
                Operation::Swap(key, value, version) => {
                    let current = models[index].version(&key);
                    let expected = version.unwrap_or(current);
                    let result = states.swap(access, &key, expected, &value);
                    if expected == current {
                        let expected = write(&mut models, index, &key, &value);
                        prop_assert_eq!(bound_of(result), expected);
                    } else {
                        let conflict = StateError::VersionConflict { expected, current };
                        prop_assert_eq!(result, Err(conflict));
                    }
                }
                Operation::GetMany(keys) => {
                    let found = states.get_many(access, &keys).expect("a small batch");
                    prop_assert_eq!(found.len(), keys.len());
                    for (key, record) in keys.iter().zip(found) {
                        let expected = models[index].keys.get(key).map(|(value, _)| &value[..]);
                        prop_assert_eq!(record.map(|record| record.value), expected);
                    }
                }
                Operation::SetMany(pairs) => {
                    let expected = pairs
                        .iter()
                        .try_for_each(|(key, value)| write(&mut models, index, key, value).map(drop));
                    prop_assert_eq!(bound_of(states.set_many(access, &pairs)), expected);
                }
                Operation::DeleteMany(keys) => {
                    keys.iter().for_each(|key| drop(models[index].keys.remove(key)));
                    prop_assert_eq!(states.delete_many(access, &keys), Ok(()));
                }
                Operation::List => {
                    let mut keys = all_keys(states, access);
                    keys.sort();
                    prop_assert_eq!(keys, models[index].keys.keys().cloned().collect::<Vec<_>>());
                }
            }
            let usage = fixture.states.usage();
            prop_assert_eq!(usage.keys as usize, models[0].keys.len() + models[1].keys.len());
            prop_assert_eq!(usage.bytes, models[0].bytes() + models[1].bytes());
        }
    }
}
