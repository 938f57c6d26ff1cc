//! Creating, binding, waiting and deleting in any order: a state is there exactly as long as the
//! rule says, and everything is freed in the end.

use proptest::prelude::*;
use vyr_core::limits::STATE_UNBOUND_MS_MAX;

use super::*;

const STATES_MAX: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Create { linger_s: u64 },
    Bind(prop::sample::Index),
    Unbind(prop::sample::Index),
    GiveUp(prop::sample::Index),
    Delete(prop::sample::Index),
    Wait { seconds: u64 },
    FreeSome,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop_oneof![Just(0), 1..100u64].prop_map(|linger_s| Step::Create { linger_s }),
        4 => any::<prop::sample::Index>().prop_map(Step::Bind),
        4 => any::<prop::sample::Index>().prop_map(Step::Unbind),
        2 => any::<prop::sample::Index>().prop_map(Step::GiveUp),
        1 => any::<prop::sample::Index>().prop_map(Step::Delete),
        3 => (1..70u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::FreeSome),
    ]
}

struct Model {
    id: StateId,
    linger_s: u64,
    bindings: u32,
    deleted: bool,
    /// When it ends unless it is bound before.
    ends_s: u64,
    /// When it would have ended, if no binding was used since.
    unused_ends_s: Option<u64>,
}

impl Model {
    fn is_alive(&self, now_s: u64) -> bool {
        !self.deleted && (self.bindings > 0 || now_s < self.ends_s)
    }
}

proptest! {
    #[test]
    fn a_state_lives_as_long_as_the_rule_says(steps in proptest::collection::vec(step(), 1..120)) {
        let mut fixture = Fixture::new(ShardLimits {
            states_max: STATES_MAX,
            ..ShardLimits::default()
        });
        let mut models: Vec<Model> = Vec::new();
        let mut bindings: Vec<(usize, Binding)> = Vec::new();
        let mut now_s = 5;
        for step in steps {
            let now_ns = now_s * SECOND_NS;
            match step {
                Step::Create { linger_s } => {
                    let limits = StateLimits { linger_ms: linger_s * 1000, ..StateLimits::DEFAULT };
                    let id = fixture.id();
                    let alive = models.iter().filter(|model| model.is_alive(now_s)).count();
                    // One step of freeing is enough here, so only those alive count.
                    let result = fixture.states.create(id, limits, now_ns);
                    if alive == STATES_MAX {
                        prop_assert_eq!(result, Err(StateError::Exhausted { max: STATES_MAX }));
                        continue;
                    }
                    // States that ended together are freed one for each call.
                    if result.is_err() {
                        fixture.free_all(now_ns);
                        prop_assert_eq!(fixture.states.create(id, limits, now_ns), Ok(()));
                    }
                    let access = fixture.states.open(id, Mode::Rw, now_ns).expect("just made");
                    fixture.states.set(access, "id", id.to_string().as_bytes()).expect("room");
                    let ends_s = now_s + linger_s.max(STATE_UNBOUND_MS_MAX / 1000);
                    models.push(Model { id, linger_s, bindings: 0, deleted: false, ends_s, unused_ends_s: None });
                }
                Step::Bind(index) if !models.is_empty() => {
                    let index = index.index(models.len());
                    let model = &mut models[index];
                    match fixture.states.bind(model.id, Mode::Rw, now_ns) {
                        Ok(binding) => {
                            prop_assert!(model.is_alive(now_s));
                            if model.bindings == 0 {
                                model.unused_ends_s = Some(model.ends_s);
                            }
                            model.bindings += 1;
                            bindings.push((index, binding));
                        }
                        Err(error) => {
                            prop_assert!(!model.is_alive(now_s));
                            prop_assert_eq!(error, StateError::NotFound { id: model.id });
                        }
                    }
                }
                Step::Unbind(index) if !bindings.is_empty() => {
                    let (index, binding) = bindings.swap_remove(index.index(bindings.len()));
                    fixture.states.unbind(binding, now_ns);
                    models[index].bindings -= 1;
                    models[index].ends_s = now_s + models[index].linger_s;
                    models[index].unused_ends_s = None;
                }
                Step::GiveUp(index) if !bindings.is_empty() => {
                    let (index, binding) = bindings.swap_remove(index.index(bindings.len()));
                    fixture.states.give_up(binding, now_ns);
                    let model = &mut models[index];
                    model.bindings -= 1;
                    model.ends_s = model.unused_ends_s.unwrap_or(now_s + model.linger_s);
                }
                Step::Delete(index) if !models.is_empty() => {
                    let index = index.index(models.len());
                    let model = &mut models[index];
                    let deleted = fixture.states.delete_state(model.id, now_ns).is_ok();
                    prop_assert_eq!(deleted, model.is_alive(now_s));
                    model.deleted = true;
                }
                Step::Wait { seconds } => now_s += seconds,
                Step::FreeSome => {
                    fixture.free_all(now_ns);
                    let alive = models.iter().filter(|model| model.is_alive(now_s)).count();
                    prop_assert_eq!(fixture.states.usage().states, alive);
                    prop_assert_eq!(fixture.states.usage().keys as usize, alive);
                    prop_assert_eq!(fixture.states.usage().freeing, 0);
                }
                _ => {}
            }
            let now_ns = now_s * SECOND_NS;
            let listed: Vec<_> =
                fixture.states.list(None, usize::MAX, now_ns).into_iter().map(|state| state.id).collect();
            let alive: Vec<_> =
                models.iter().rev().filter(|model| model.is_alive(now_s)).map(|model| model.id).collect();
            prop_assert_eq!(listed, alive);
            // Whoever is bound reads its own state or finds it deleted, whatever reused its slot.
            for (index, binding) in &bindings {
                let model = &models[*index];
                match fixture.states.get(binding.access(), "id") {
                    Ok(record) => {
                        prop_assert!(!model.deleted);
                        let id = model.id.to_string();
                        prop_assert_eq!(record.map(|record| record.value), Some(id.as_bytes()));
                    }
                    Err(error) => {
                        prop_assert!(model.deleted);
                        prop_assert_eq!(error, StateError::NotFound { id: model.id });
                    }
                }
            }
        }
        for (_, binding) in bindings {
            fixture.states.unbind(binding, now_s * SECOND_NS);
        }
        fixture.free_all(u64::MAX);
        let nothing = Usage { states: 0, keys: 0, bytes: 0, freeing: 0 };
        prop_assert_eq!(fixture.states.usage(), nothing);
    }
}
