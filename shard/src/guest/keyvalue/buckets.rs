//! What a guest's bucket is: a name that its task is bound to a state by.

use std::collections::BTreeMap;
use std::rc::Rc;

use send_wrapper::SendWrapper;
use vyr_core::limits::{STATE_SWAPS_BYTES_MAX, STATE_SWAPS_MAX};
use vyr_core::problem::Code;
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};

use crate::state::{Bound, Call, Refused, Reply, SharedStates};

/// The states that a guest may open. It stays on its shard's thread; wasmtime only asks that a
/// store's data could move.
pub(crate) struct Buckets {
    states: SendWrapper<Rc<SharedStates>>,
    bound: Vec<(String, Bound)>,
    /// Counts the tasks of the instance, so that a bucket that one of them opened is of no use to the next.
    task: u32,
    /// What the task holds for compare-and-swaps; the guest has its number.
    swaps: BTreeMap<u64, Held>,
    swaps_begun: u64,
    /// Bytes of [`Buckets::swaps`].
    swaps_bytes: usize,
}

/// What a guest read and will only overwrite if nobody else has.
struct Held {
    bucket: Bucket,
    key: String,
    value: Option<Vec<u8>>,
    version: u64,
}

impl Held {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

impl Buckets {
    pub(crate) fn new(states: Rc<SharedStates>, bound: Vec<(String, Bound)>) -> Self {
        Self {
            states: SendWrapper::new(states),
            bound,
            task: 0,
            swaps: BTreeMap::new(),
            swaps_begun: 0,
            swaps_bytes: 0,
        }
    }

    /// Connects the guest with its next task's states.
    pub(crate) fn attach(&mut self, bound: Vec<(String, Bound)>) {
        self.bound = bound;
    }

    /// The task is over: what its guest has kept of it is of no use any more.
    pub(crate) fn detach(&mut self) {
        self.bound.clear();
        self.task += 1;
        self.swaps.clear();
        self.swaps_bytes = 0;
    }

    async fn call(&self, bucket: Bucket, call: Call) -> Result<Reply, Refused> {
        if bucket.task != self.task {
            return Err(of_an_earlier_task("bucket was opened"));
        }
        match bucket.bound {
            Bound::Own(access) => self.states.call(access, call),
            Bound::Other(place) => {
                let reply = self.states.call_other(place, call);
                reply.await
            }
        }
    }

    /// Reads a key for a compare-and-swap.
    async fn begin_swap(&mut self, bucket: Bucket, key: String) -> Result<Cas, Refused> {
        // It is in the host's memory, which no limit of the guest's counts.
        if self.swaps.len() >= STATE_SWAPS_MAX {
            return Err(too_many());
        }
        let call = Call::Get { key: key.clone() };
        let read = self.call(bucket, call).await?.into_value();
        let (value, version) = read.map_or((None, 0), |(value, version)| (Some(value), version));
        let held = Held {
            bucket,
            key,
            value,
            version,
        };
        let bytes = self.swaps_bytes + held.bytes();
        if bytes > STATE_SWAPS_BYTES_MAX {
            return Err(too_many());
        }
        self.swaps_bytes = bytes;
        self.swaps_begun += 1;
        self.swaps.insert(self.swaps_begun, held);
        Ok(Cas(self.swaps_begun))
    }

    fn end_swap(&mut self, cas: &Cas) -> Option<Held> {
        let held = self.swaps.remove(&cas.0)?;
        self.swaps_bytes -= held.bytes();
        Some(held)
    }
}

fn too_many() -> Refused {
    Refused {
        code: Code::StateBatchTooLarge,
        detail: format!(
            "a task holds at most {STATE_SWAPS_MAX} values and {STATE_SWAPS_BYTES_MAX} bytes for \
             compare-and-swaps; drop some"
        ),
    }
}

fn of_an_earlier_task(what: &str) -> Refused {
    Refused {
        code: Code::StateNotFound,
        detail: format!("the {what} by an earlier task; open it again"),
    }
}

/// An open bucket.
#[derive(Clone, Copy)]
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
pub struct Bucket {
    bound: Bound,
    task: u32,
}

/// The number of a compare-and-swap.
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
pub struct Cas(u64);

/// Why the guest gets an error.
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
pub enum BucketError {
    NoSuchStore,
    AccessDenied,
    Other(String),
}

impl From<Refused> for BucketError {
    fn from(refused: Refused) -> Self {
        match refused.code {
            Code::StateReadOnly => Self::AccessDenied,
            code => Self::Other(format!("{}: {}", code.as_str(), refused.detail)),
        }
    }
}

impl From<ResourceTableError> for BucketError {
    fn from(error: ResourceTableError) -> Self {
        Self::Other(error.to_string())
    }
}

/// The guest's side of `wasi:keyvalue`.
pub(crate) struct KeyValue<'a> {
    pub(super) buckets: &'a mut Buckets,
    pub(super) table: &'a mut ResourceTable,
}

impl KeyValue<'_> {
    pub(super) fn open_bucket(&mut self, name: &str) -> Result<Resource<Bucket>, BucketError> {
        let bound = self.buckets.bound.iter().find(|(bound, _)| bound == name);
        let (_, bound) = bound.ok_or(BucketError::NoSuchStore)?;
        let bucket = Bucket {
            bound: *bound,
            task: self.buckets.task,
        };
        Ok(self.table.push(bucket)?)
    }

    pub(super) async fn call(
        &mut self,
        bucket: &Resource<Bucket>,
        call: Call,
    ) -> Result<Reply, BucketError> {
        let bucket = *self.table.get(bucket)?;
        Ok(self.buckets.call(bucket, call).await?)
    }

    pub(super) async fn new_cas(
        &mut self,
        bucket: &Resource<Bucket>,
        key: String,
    ) -> Result<Resource<Cas>, BucketError> {
        let bucket = *self.table.get(bucket)?;
        let cas = self.buckets.begin_swap(bucket, key).await?;
        self.push_cas(cas)
    }

    fn push_cas(&mut self, cas: Cas) -> Result<Resource<Cas>, BucketError> {
        let number = cas.0;
        self.table.push(cas).map_err(|error| {
            self.buckets.end_swap(&Cas(number));
            error.into()
        })
    }

    pub(super) fn current(&self, cas: &Resource<Cas>) -> Result<Option<Vec<u8>>, BucketError> {
        let held = self.buckets.swaps.get(&self.table.get(cas)?.0);
        let held = held.ok_or_else(|| of_an_earlier_task("compare-and-swap was begun"))?;
        Ok(held.value.clone())
    }

    pub(super) fn drop_cas(&mut self, cas: Resource<Cas>) -> Result<(), ResourceTableError> {
        let cas = self.table.delete(cas)?;
        self.buckets.end_swap(&cas);
        Ok(())
    }

    /// Writes if the key has the version that was read; otherwise gives what is there now.
    pub(super) async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> Result<Option<Resource<Cas>>, BucketError> {
        let cas = self.table.delete(cas)?;
        let held = self.buckets.end_swap(&cas);
        let held = held.ok_or_else(|| of_an_earlier_task("compare-and-swap was begun"))?;
        let call = Call::Swap {
            key: held.key.clone(),
            expected: held.version,
            value,
        };
        match self.buckets.call(held.bucket, call).await {
            Ok(_) => Ok(None),
            Err(refused) if refused.code == Code::StateVersionConflict => {
                let now = self.buckets.begin_swap(held.bucket, held.key).await?;
                Ok(Some(self.push_cas(now)?))
            }
            Err(refused) => Err(refused.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use vyr_core::id::{ShardLife, ShardNumber, StateIdSource};
    use vyr_core::limits::{STATE_VALUE_BYTES_MAX, ShardLimits, StateLimits};
    use vyr_core::state::Mode;

    use super::*;
    use crate::rt::{self, ExecutorConfig, ExecutorKind};
    use crate::state::{Secret, States};

    fn refusal<T>(result: Result<T, BucketError>) -> String {
        match result {
            Err(BucketError::Other(text)) => text,
            _ => "not refused".into(),
        }
    }

    #[test]
    fn what_a_task_holds_for_swaps_ends_with_it_and_is_bounded() {
        let config = ExecutorConfig {
            kind: ExecutorKind::Epoll,
            cpu: None,
            name: "test".into(),
        };
        let run = rt::run(&config, || async {
            let (shard, life) = (ShardNumber(0), ShardLife(0));
            let mut states =
                States::new(shard, life, &ShardLimits::default(), Secret::new([7; 192]));
            let mut ids = StateIdSource::new(shard, life, 7);
            let id = ids.next(std::time::SystemTime::now());
            states.create(id, StateLimits::DEFAULT, 0).expect("room");
            let access = states.open(id, Mode::Rw, 0).expect("just made");
            let largest = vec![1; STATE_VALUE_BYTES_MAX];
            states.set(access, "large", &largest).expect("room");
            let shared = SharedStates::new(shard, states, ids);
            let bound = vec![("a".to_owned(), Bound::Own(access))];
            let mut buckets = Buckets::new(shared, bound.clone());
            let mut table = ResourceTable::new();
            let mut guest = KeyValue {
                buckets: &mut buckets,
                table: &mut table,
            };
            let bucket = guest.open_bucket("a").ok().expect("bound");
            let mut held = Vec::new();
            let refused = loop {
                match guest.new_cas(&bucket, "large".into()).await {
                    Ok(cas) => held.push(cas),
                    Err(error) => break refusal::<()>(Err(error)),
                }
            };
            assert!(refused.starts_with("state_batch_too_large"), "{refused}");
            assert_eq!(
                held.len(),
                STATE_SWAPS_BYTES_MAX / STATE_VALUE_BYTES_MAX - 1
            );
            // Keys count as well, also of what is not there.
            let long = "k".repeat(STATE_SWAPS_BYTES_MAX);
            assert_ne!(refusal(guest.new_cas(&bucket, long).await), "not refused");

            guest.buckets.detach();
            assert!(guest.buckets.swaps.is_empty());
            guest.buckets.attach(bound);
            let (kept, swapped) = (held.pop().expect("one"), held.pop().expect("two"));
            assert!(refusal(guest.current(&kept)).contains("earlier task"));
            assert!(refusal(guest.swap(swapped, Vec::new()).await).contains("earlier task"));
            let again = guest.open_bucket("a").ok().expect("bound");
            for _ in 1..STATE_SWAPS_BYTES_MAX / STATE_VALUE_BYTES_MAX {
                let cas = guest.new_cas(&again, "large".into()).await.ok();
                held.push(cas.expect("the next task has all of the room"));
            }
            held.into_iter()
                .chain([kept])
                .for_each(|cas| guest.drop_cas(cas).expect("a handle"));
            assert_eq!(guest.buckets.swaps_bytes, 0);
        });
        run.expect("the executor runs");
    }
}
