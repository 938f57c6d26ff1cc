//! What a guest's bucket is: a name that its task is bound to a state by.

use std::rc::Rc;

use send_wrapper::SendWrapper;
use vyr_core::limits::STATE_SWAPS_MAX;
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
    /// Values that are held for a compare-and-swap.
    swaps: usize,
}

impl Buckets {
    pub(crate) fn new(states: Rc<SharedStates>, bound: Vec<(String, Bound)>) -> Self {
        Self {
            states: SendWrapper::new(states),
            bound,
            task: 0,
            swaps: 0,
        }
    }

    /// Connects the guest with its next task's states.
    pub(crate) fn attach(&mut self, bound: Vec<(String, Bound)>) {
        self.bound = bound;
        self.task += 1;
    }

    async fn call(&self, bucket: Bucket, call: Call) -> Result<Reply, Refused> {
        if bucket.task != self.task {
            return Err(Refused {
                code: Code::StateNotFound,
                detail: "the bucket was opened by an earlier task; open it again".into(),
            });
        }
        match bucket.bound {
            Bound::Own(access) => self.states.call(access, call),
            Bound::Other(place) => {
                let reply = self.states.call_other(place, call);
                reply.await
            }
        }
    }

    async fn read_cas(&self, bucket: Bucket, key: String) -> Result<Cas, Refused> {
        let call = Call::Get { key: key.clone() };
        let read = self.call(bucket, call).await?.into_value();
        let (value, version) = read.map_or((None, 0), |(value, version)| (Some(value), version));
        Ok(Cas {
            bucket,
            key,
            value,
            version,
        })
    }
}

/// An open bucket.
#[derive(Clone, Copy)]
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
pub struct Bucket {
    bound: Bound,
    task: u32,
}

/// What a guest read and will only overwrite if nobody else has.
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
pub struct Cas {
    bucket: Bucket,
    key: String,
    pub(super) value: Option<Vec<u8>>,
    version: u64,
}

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
        // Each holds a value in the host's memory, which no limit of the guest's counts.
        if self.buckets.swaps >= STATE_SWAPS_MAX {
            return Err(Refused {
                code: Code::StateBatchTooLarge,
                detail: format!(
                    "a task holds at most {STATE_SWAPS_MAX} values for compare-and-swaps; drop some"
                ),
            }
            .into());
        }
        let cas = self.buckets.read_cas(bucket, key).await?;
        self.push_cas(cas)
    }

    fn push_cas(&mut self, cas: Cas) -> Result<Resource<Cas>, BucketError> {
        let cas = self.table.push(cas)?;
        self.buckets.swaps += 1;
        Ok(cas)
    }

    pub(super) fn take_cas(&mut self, cas: Resource<Cas>) -> Result<Cas, ResourceTableError> {
        let cas = self.table.delete(cas)?;
        self.buckets.swaps -= 1;
        Ok(cas)
    }

    /// Writes if the key has the version that was read; otherwise gives what is there now.
    pub(super) async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> Result<Option<Resource<Cas>>, BucketError> {
        let cas = self.take_cas(cas)?;
        let call = Call::Swap {
            key: cas.key.clone(),
            expected: cas.version,
            value,
        };
        match self.buckets.call(cas.bucket, call).await {
            Ok(_) => Ok(None),
            Err(refused) if refused.code == Code::StateVersionConflict => {
                let now = self.buckets.read_cas(cas.bucket, cas.key).await?;
                Ok(Some(self.push_cas(now)?))
            }
            Err(refused) => Err(refused.into()),
        }
    }
}
